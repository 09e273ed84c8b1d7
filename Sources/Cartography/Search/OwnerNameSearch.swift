// Looks for host clusters by the words for who uses them: "snapshot base", "refcount block", a bitmap's name.

import Qcow
import QcowFormat

/// A search by the names of owners.
package enum OwnerNameSearch {
  /// The next cluster behind (or before) `cluster`, then round the end of the file, that has an owner whose words hold
  /// a text; capitals and quotes do not count. Clusters that nobody uses are passed. `stops` is asked now and then with
  /// the share that is done, and ends the search.
  ///
  /// - Returns: the cluster and whether it went round; nil if there is none, or if it was stopped.
  package static func next(
    _ text: String, from cluster: UInt64, forward: Bool, in scene: Scene, stops: (Double) -> Bool
  ) -> (cluster: UInt64, wrapped: Bool)? {
    let wanted = plain(text)
    let all = scene.atlas.fileClusters
    guard !wanted.isEmpty, all > 0 else { return nil }
    let clock = ContinuousClock()
    var asked = clock.now
    for step in 1...all {
      let place = forward ? (cluster % all + step) % all : (cluster % all + all - step % all) % all
      if let facts = scene.atlas.hostFacts(of: place), facts.state != .free, facts.state != .pastEnd {
        let list = scene.owners.owners(of: HostCluster(place))
        if list.owners.contains(where: { plain($0.text(snapshots: scene.image.snapshots)).contains(wanted) })
        {
          return (place, forward ? place <= cluster : place >= cluster)
        }
      }
      if step & 63 == 0, asked.duration(to: clock.now) >= .milliseconds(20) {
        asked = clock.now
        if stops(Double(step) / Double(all)) { return nil }
      }
    }
    return nil
  }

  private static func plain(_ text: String) -> String {
    String(text.lowercased().filter { $0 != "\"" && $0 != "'" })
  }
}
