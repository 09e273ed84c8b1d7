// The answer to "where is this range?": runs of equal state, contiguous on the host where there is
// a host place. Reading, `map`, the screens and the exporter consume the same runs.

package import QcowFormat

/// A run of guest bytes in one state.
package struct Mapping: Equatable, Sendable {
  /// The first byte.
  package var guest: GuestOffset
  /// Bytes, at least 1.
  package var length: ByteCount
  /// What the bytes of the range are.
  package var state: SubclusterState
  /// Host place of the first byte, for states that have one; consecutive over the whole run.
  package var host: HostOffset?
  /// The stream, for a compressed cluster. The run then lies within one cluster.
  package var compressed: CompressedExtent?

  package init(
    guest: GuestOffset, length: ByteCount, state: SubclusterState, host: HostOffset? = nil,
    compressed: CompressedExtent? = nil
  ) {
    self.guest = guest
    self.length = length
    self.state = state
    self.host = host
    self.compressed = compressed
  }

  /// First guest byte behind the run.
  package var end: GuestOffset { guest + length }
}
