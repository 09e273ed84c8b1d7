// Whose leaked clusters may have been: the parts of the disk whose clusters lie beside them in the file.

import QcowFormat

/// Looks for the neighbours of rows of clusters among all entries of a disk, some entries at a time.
struct NeighbourSearch {
  let disk: Image
  /// Parts of the disk whose entries have bits without a meaning; some.
  private(set) var strays: [Range<GuestOffset>] = []
  private let runs: [Range<HostCluster>]
  private var sought: Set<HostCluster> = []
  private var found: [HostCluster: GuestCluster] = [:]
  private var next = GuestCluster(0)
  private var isDone = false

  /// Entries that are looked at in one step.
  private static let piece = ClusterCount(1 << 16)

  private var geometry: Geometry { disk.geometry }

  init(_ disk: Image, _ runs: [Range<HostCluster>]) {
    self.disk = disk
    self.runs = runs
    for run in runs {
      if let before = Self.before(run) { sought.insert(before) }
      sought.insert(run.upperBound)
    }
  }

  /// How far it is, 0 ... 1.
  var progress: Double { min(1, Double(next.value) / Double(max(1, geometry.clusterCount))) }

  /// Looks at some entries; false if there are none left.
  mutating func step() -> Bool {
    guard !isDone else { return false }
    let end = GuestCluster(geometry.clusterCount)
    let limit = min(end, GuestCluster(next.value &+ Self.piece.value))
    let zeroFlag = geometry.hasExtendedL2 ? 0 : L2Entry.zeroFlag
    var at = next
    let geometry = geometry
    do throws(ImageError) {
      _ = try disk.l2.walkDescriptors(&at, upTo: limit) { guest, entry in
        guard !entry.isCompressed else { return true }
        let host = HostOffset(entry.offsetBits)
        if host.value == 0 {
          if entry.descriptor & ~zeroFlag != 0, strays.count <= RunList<GuestOffset>.limit {
            strays.append(geometry.start(of: guest)..<geometry.start(of: guest + 1))
          }
          return true
        }
        let cluster = geometry.cluster(of: host)
        if sought.contains(cluster) { found[cluster] = guest }
        return true
      }
    } catch {
      // What cannot be read ends the search; what is known counts.
      isDone = true
    }
    // The walk passes rows of empty entries in one go, beyond the limit.
    next = max(at, limit)
    isDone = isDone || next >= end || geometry.l1Index(of: next) >= UInt64(disk.l1Count)
    return !isDone
  }

  /// The unmapped parts of the disk between the neighbours of each row in the file.
  var guests: [Range<GuestOffset>] {
    runs.compactMap { run in
      let count = run.upperBound - run.lowerBound
      var start: GuestCluster?
      if let before = Self.before(run), let guest = found[before] {
        start = guest + 1
      } else if let after = found[run.upperBound], after.value >= count.value {
        start = GuestCluster(after.value - count.value)
      }
      guard let start, (start + count).value <= geometry.clusterCount, isUnmapped(start, count) else {
        return nil
      }
      let end = min(geometry.start(of: start + count), GuestOffset(geometry.virtualSize))
      return geometry.start(of: start)..<end
    }
  }

  /// The cluster in front of a row.
  private static func before(_ run: Range<HostCluster>) -> HostCluster? {
    run.lowerBound.value > 0 ? HostCluster(run.lowerBound.value - 1) : nil
  }

  private func isUnmapped(_ start: GuestCluster, _ count: ClusterCount) -> Bool {
    for number in Set([0, count.value / 2, count.value - 1]) {
      guard let entry = try? disk.l2Entry(at: geometry.start(of: start + ClusterCount(number))),
        !entry.isCompressed, entry.offsetBits == 0
      else { return false }
    }
    return true
  }
}
