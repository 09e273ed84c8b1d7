// What `qatlas looks-like` prints: runs of clusters that are alike in what they are said to be and in what they
// look like, with the owner of the first. Memory does not grow with the runs.

package import Cartography
import Qcow
import QcowFormat
package import Storage

/// Prints how the clusters of an image whose atlas is complete look.
package struct LooksText {
  private let atlas: Atlas
  private let owners: Owners
  private var stream: ReportStream
  /// Clusters of the file that were printed as broken.
  package private(set) var broken: UInt64 = 0
  private var run: (look: Look, count: UInt64)?

  /// Prints to `output`, in pieces.
  package init(_ atlas: Atlas, json: Bool, output: @escaping (String) -> Void) {
    self.atlas = atlas
    stream = ReportStream(json: json, output: output)
    owners = Owners(atlas, maximumOwners: 4, maximumSnapshots: 4)
  }

  /// Prints the clusters that do not look like what they are said to be, or all of them.
  ///
  /// - Throws: ``StorageError`` for bytes that cannot be read.
  package mutating func write(all: Bool) throws(StorageError) {
    stream.open("{")
    stream.open("[", "clusters")
    var text = self
    try LooksScan(atlas).run(brokenOnly: !all) { text.add($0) }
    self = text
    endRun()
    stream.close("]")
    stream.add("broken", .number(broken))
    let word = broken == 1 ? "cluster does" : "clusters do"
    stream.line(
      broken == 0
        ? "every cluster looks like what it is said to be"
        : "\(broken) \(word) not look like what the tables say")
    if let reason = atlas.partialReason { stream.line("note  \(Escaping.human(reason))") }
    stream.close("}\n")
  }

  private mutating func add(_ look: Look) {
    if look.isBroken { broken += 1 }
    if let current = run, current.look.cluster.value + current.count == look.cluster.value,
      current.look.state == look.state, current.look.shape == look.shape,
      current.look.isBroken == look.isBroken
    {
      run = (current.look, current.count + 1)
      return
    }
    endRun()
    run = (look, 1)
  }

  private mutating func endRun() {
    guard let (look, count) = run else { return }
    run = nil
    let geometry = atlas.image.geometry
    var fields = [
      Field("host", .offset(geometry.start(of: look.cluster).value)),
      Field("length", .number(geometry.byteCount(ofClusters: count))),
      Field("state", .string(Legend.host(look.state).name)),
      Field("looks like", .string(look.shape.name)),
    ]
    if look.isBroken {
      fields.append(Field("broken", .bool(true)))
      let list = owners.owners(of: look.cluster)
      if let guest = list.owners.lazy.compactMap(\.guest).first {
        fields.append(Field("guest", .offset(guest.value)))
      }
      if let owner = list.owners.first {
        let more = list.owners.count > 1 ? " and \(list.owners.count - 1) more" : ""
        fields.append(Field("text", .string(owner.text(snapshots: atlas.image.snapshots) + more)))
      }
    }
    stream.record(fields)
  }
}
