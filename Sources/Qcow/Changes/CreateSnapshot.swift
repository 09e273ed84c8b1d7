// Taking an internal snapshot as a verb.

import Glibc
import Storage

/// Takes a snapshot of the disk as it is now.
package struct CreateSnapshot: Change {
  /// The name of the snapshot, with every byte of it.
  package let name: String
  /// When it is taken: seconds since 1970 and nanoseconds; nil for the moment at which it is done.
  package let time: (seconds: UInt32, nanoseconds: UInt32)?
  /// One that is refused leaks what it has counted so far, as with the genuine tool.
  package let leavesHalf: Bool

  /// What people are told of it.
  package static let words = ChangeWords(
    "snapshot-create", arguments: [.init("NAME", .name)], hint: "take snapshot",
    help: "take an internal snapshot of the disk as it is now; names may repeat",
    writesSharedTables: true)

  /// The bytes of a name that the genuine tool keeps at most.
  package static let maximumName = 255

  /// A name of more than ``maximumName`` bytes is cut, as the genuine tool does.
  package init(
    _ name: String, time: (seconds: UInt32, nanoseconds: UInt32)? = nil, leavesHalf: Bool = false
  ) {
    self.name = ByteText.text(Array(ByteText.bytes(name).prefix(Self.maximumName)))
    self.time = time
    self.leavesHalf = leavesHalf
  }

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [name] }

  package func refusal(of image: Image) -> String? {
    image.hasExternalData
      ? "an image with an external data file cannot have internal snapshots" : ChangeWords.readOnly(image)
  }

  package func run(on image: Image) throws(ImageError) {
    let (seconds, nanoseconds) = time ?? Self.now()
    try image.createSnapshot(
      name: name, seconds: seconds, nanoseconds: nanoseconds, leavesHalf: leavesHalf)
  }

  /// The time in whole microseconds, as the genuine tool has it.
  package static func now() -> (seconds: UInt32, nanoseconds: UInt32) {
    var now = timeval()
    _ = unsafe gettimeofday(&now, nil)
    return (UInt32(truncatingIfNeeded: now.tv_sec), UInt32(truncatingIfNeeded: now.tv_usec) * 1000)
  }
}
