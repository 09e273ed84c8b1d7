// What the explorer needs of the host to give its disk to others, and may not do itself: sockets and threads.

package import Live

/// Serves a shared disk to clients.
package protocol DiskServer: AnyObject {
  /// Begins to serve; `socket` is where the socket is made, a place of its own without one.
  ///
  /// - Returns: what clients are given to find it, a URI.
  /// - Throws: ``ServerError`` if the host has no place for it.
  func start(_ disk: SharedDisk, title: String, socket: String?) throws(ServerError) -> String
  /// Ends all connections. Not while the disk is had, which clients need to finish.
  func stop()
  /// Clients that are connected now.
  var clients: Int { get }
}
