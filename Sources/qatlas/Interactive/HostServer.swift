// Serves the disk of the explorer: a socket that only its user can connect to, and the threads behind it.

import Explorer
import Live
import Storage

final class HostServer: DiskServer {
  private var place: ServingPlace?
  private var server: NbdServer?
  private var log: ClientLog?

  func start(_ disk: SharedDisk, title: String, socket: String?) throws(ServerError) -> String {
    stop()
    let place = try ServingPlace(path: socket, name: "")
    let log = ClientLog(endsWithLast: false)
    do throws(ServerError) {
      server = try NbdServer(
        place.descriptor, NbdExport(disk, name: "", description: title), tells: log.take)
    } catch {
      place.remove()
      throw error
    }
    (self.place, self.log) = (place, log)
    return place.uri
  }

  func stop() {
    server?.stop()
    place?.remove()
    (server, place, log) = (nil, nil, nil)
  }

  var clients: Int { log?.clients ?? 0 }
}
