// A session as lines of commands that do the same again, byte for byte, on the image that it began with.

package import Cartography
import Qcow
import QcowFormat
import Storage

/// Seconds since 1970 and nanoseconds.
package typealias SnapshotTime = (seconds: UInt32, nanoseconds: UInt32)

/// What an operation depends on besides its words and the image.
package struct Circumstances {
  let policy: MappingPolicy
  let granularity: DiscardGranularity
  let reads: DiscardReads
  /// Of the snapshot that it took; nil if it took none.
  let time: SnapshotTime?

  /// As they are before an operation.
  init(_ image: Image, _ time: SnapshotTime?) {
    policy = image.policy
    granularity = image.discardGranularity
    reads = image.discardReads
    self.time = time
  }

  /// The lines that bring them about, where the last operation had others.
  func lines(behind last: Circumstances?) -> [String] {
    var lines: [String] = []
    if policy != last?.policy { lines.append("\(CommandID.policy) \(policy.rawValue)") }
    if granularity != last?.granularity {
      let setting = granularity == .cluster ? Setting.discardCluster : .discardSubcluster
      lines.append("\(CommandID.set) \(setting.rawValue)")
    }
    if reads != last?.reads {
      let setting = reads == .zero ? Setting.discardReadsZero : .discardReadsBacking
      lines.append("\(CommandID.set) \(setting.rawValue)")
    }
    if let time { lines.append("\(CommandID.session) at \(time.seconds) \(time.nanoseconds)") }
    return lines
  }
}

extension Session {
  /// A change that takes a snapshot says when.
  func timed(_ change: any Change) -> (any Change, SnapshotTime?) {
    guard let create = change as? CreateSnapshot else { return (change, nil) }
    let time = create.time ?? nextTime ?? CreateSnapshot.now()
    nextTime = nil
    return (CreateSnapshot(create.name, time: time, leavesHalf: create.leavesHalf), time)
  }

  /// The tables as they are now, or as they were when the session began; nil if Esc ended it.
  ///
  /// - Throws: ``ImageError`` for tables that cannot be read.
  func fingerprint(ofBeginning: Bool) throws(ImageError) -> TableFingerprint? {
    let image = ofBeginning ? try scene(at: HistoryMoment(generation: 0)).image : image
    return try TableFingerprint(image) { files.shouldCancel($0) }
  }

  /// The operations that are in place, as lines.
  ///
  /// - Throws: ``CommandError`` for a session that cannot be done again by lines.
  package func script() throws(CommandError) -> String {
    guard follower == nil else {
      throw CommandError("what another program wrote cannot be done again by commands")
    }
    guard salvaged == nil else {
      throw CommandError("an image that was put together by a salvage is no beginning")
    }
    let print: TableFingerprint
    do throws(ImageError) {
      guard let made = try fingerprint(ofBeginning: true) else { throw Self.cancelled }
      print = made
    } catch { throw CommandError(error.description) }
    var lines = [
      "# a session of qatlas on \(Escaping.human(title)): \(counted(done.count, "operation"))",
      "\(CommandID.session) from \(print.length) \(Notation.hex(print.number, width: 16))",
    ]
    var last: Circumstances?
    var index = 0
    while index < done.count {
      let step = done[index]
      guard !step.title.contains(where: \.isNewline) else {
        throw CommandError("operation \(index + 1) has a name with a line end, which no line can hold")
      }
      lines += step.circumstances.lines(behind: last)
      last = step.circumstances
      var end = index + 1
      if let group = step.group, step.title.hasPrefix(CommandID.defrag.name) {
        while end < done.count, done[end].group == group, done[end].title == step.title { end += 1 }
        let words = step.title.split(separator: " ").dropFirst().map(String.init)
        lines.append(
          ([CommandID.session.description, "defrag", String(end - index)] + words).joined(separator: " "))
      } else {
        lines.append(":" + step.title)
      }
      index = end
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Puts the image in order by so many operations, as somebody did who perhaps stopped it.
  ///
  /// - Throws: ``ImageError`` as ``startDefrag(_:)`` and ``stepDefrag()``.
  func defrag(_ change: Defrag, operations: Int) throws(ImageError) {
    let before = done.count
    try startDefrag(change)
    while defrag != nil, done.count < before + operations { try stepDefrag() }
    stopDefrag()
  }
}
