// Runs in the order of the file, counted while the tables are walked in the order of the disk: what is not known of a
// gap in the file then is asked again at the end, when all clusters are known.

/// Runs in the order of the file: two guest clusters in a row are in order if the second one lies behind the first
/// one with none of the chosen clusters between them.
///
/// A gap in which a cluster has been seen stays taken, so that most gaps are settled at once. The others wait; where
/// too many wait, the order takes a walk of its own over all clusters.
struct HostOrder: Equatable {
  /// Parts of runs that wait at most.
  static let mostParts = 1 << 14

  /// The runs; all of them after ``finish(_:_:)``.
  private(set) var lengths = RunLengths()
  /// Too much was left to wait, and nothing here counts.
  private(set) var isGivenUp = false
  private var length: UInt64 = 0
  private var ended = EqualRuns()
  private var parts: [Part] = []
  /// The last part has a gap behind it.
  private var isOpen = false

  private struct Part: Equatable {
    var length: UInt64
    /// The gap behind it, in host clusters; nil where the run ends.
    var gap: Range<UInt64>?
  }

  /// Adds clusters to the run.
  @inline(__always)
  mutating func goOn(_ clusters: UInt64) { length &+= clusters }

  /// Where a row does not follow the one in front of it.
  struct Joint {
    /// Clusters since the joint before.
    var length: UInt64
    /// Host clusters between the rows, if the run may go on over them; `gapEnd` is 0 if it ends.
    var gapStart: UInt64 = 0
    var gapEnd: UInt64 = 0

    /// The joint in front of a row. A compressed cluster has to follow exactly, because streams share clusters.
    @inline(__always)
    init(_ length: UInt64, _ last: EntryRow?, _ row: EntryRow, clusterBits: UInt64) {
      self.length = length
      guard let last, row.guest == last.guest &+ last.count, row.host > last.end, row.kind != .compressed,
        last.kind != .compressed
      else { return }
      gapStart = last.end &>> clusterBits
      gapEnd = row.host &>> clusterBits
    }
  }

  /// Adds joints: each ends the run, or goes on with it over clear clusters. `data` and `streams` hold the chosen clusters.
  mutating func add(
    _ joints: UnsafeBufferPointer<Joint>, _ data: borrowing ClusterBits, _ streams: borrowing ClusterBits?
  ) {
    guard !isGivenUp else { return }
    unsafe withUnsafeTemporaryAllocation(of: Bool.self, capacity: joints.count) { ends in
      // All at once, so that no joint waits for the memory of the one before.
      unsafe data.findTaken(joints, ends)
      for index in joints.indices {
        let joint = unsafe joints[index]
        length &+= joint.length
        if unsafe ends[index] {
          end()
          continue
        }
        let gap = joint.gapStart..<joint.gapEnd
        switch Self.clearness(of: gap, data, streams) {
        case .clear: break
        case .taken: end()
        case .unknown: wait(for: gap)
        }
        guard !isGivenUp else { return }
      }
    }
  }

  @inline(__always)
  private static func clearness(
    of gap: Range<UInt64>, _ data: borrowing ClusterBits, _ streams: borrowing ClusterBits?
  ) -> ClusterBits.Clearness {
    let ofData = data.clearness(of: gap)
    if ofData == .taken { return .taken }
    let ofStreams = streams?.clearness(of: gap) ?? .clear
    return ofStreams == .clear ? ofData : ofStreams
  }

  @inline(__always)
  private mutating func end() {
    if isOpen {
      parts.append(Part(length: length, gap: nil))
      isOpen = false
    } else {
      ended.add(length, to: &lengths)
    }
    length = 0
  }

  private mutating func wait(for gap: Range<UInt64>) {
    guard parts.count < Self.mostParts else {
      isGivenUp = true
      (parts, isOpen) = ([], false)
      return
    }
    parts.append(Part(length: length, gap: gap))
    (length, isOpen) = (0, true)
  }

  /// Ends the last run and settles all gaps; `data` and `streams` are complete and sealed.
  mutating func finish(_ data: borrowing ClusterBits, _ streams: borrowing ClusterBits?) {
    end()
    ended.flush(to: &lengths)
    var run: UInt64 = 0
    for part in parts {
      run &+= part.length
      if let gap = part.gap, Self.clearness(of: gap, data, streams) == .clear { continue }
      lengths.add(run)
      run = 0
    }
    parts = []
  }
}
