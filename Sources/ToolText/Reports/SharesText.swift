// What `qatlas shares` prints, as the screen of snapshots and layers shows it: what the disk, every snapshot and every
// layer hold, and what any two of the disk and its snapshots have in common.

package import Cartography
package import Qcow
import QcowFormat
import Storage

/// The shares of an image as text or JSON.
package struct SharesText {
  private let image: Image
  private let sharing: SnapshotSharing
  private let holders: HolderMap
  private let layers: LayerShares

  /// The texts of counts that are done.
  package init(_ image: Image, _ sharing: SnapshotSharing, _ holders: HolderMap, _ layers: LayerShares) {
    self.image = image
    self.sharing = sharing
    self.holders = holders
    self.layers = layers
  }

  private func name(_ snapshot: Int?) -> String { snapshot.map { image.snapshots[$0].name } ?? "disk" }
  private var size: UInt64 { image.geometry.clusterSize }

  private var notes: [String] {
    [sharing.remark, holders.remark].compactMap { $0 }
      + (layers.unknown > 0
        ? ["of \(layers.unknown) bytes of the disk it is not known which layer answers"] : [])
  }

  /// Prints it, for people or as one JSON object.
  package func write(json: Bool, output: @escaping (String) -> Void) {
    var stream = ReportStream(json: json, output: output)
    stream.open("{")
    stream.add("cluster-size", .number(size))
    stream.open("[", "holders")
    for holding in sharing.counted {
      let record = ReportValue.object([
        Field("name", .string(name(holding.snapshot))), Field("snapshot", .bool(holding.snapshot != nil)),
        Field("clusters", .number(holding.used)), Field("of-the-disk", .number(holding.withDisk)),
        Field("only-here", .number(holding.alone)),
      ])
      stream.add(nil, record)
      let what = holding.snapshot == nil ? "disk" : "snapshot \(Escaping.human(name(holding.snapshot)))"
      stream.line(
        "\(what)  \(counted(holding.used, "cluster")), \(holding.alone) only here"
          + (holding.snapshot == nil ? "" : ", \(holding.withDisk) of the disk"))
    }
    stream.close("]")
    writeMatrix(&stream)
    writeLayers(&stream)
    stream.add("notes", .array(notes.map { .string($0) }))
    for note in notes { stream.line("note  " + Escaping.human(note)) }
    stream.close("}\n")
  }

  private func writeMatrix(_ stream: inout ReportStream) {
    stream.open("[", "shared")
    let all = [nil] + holders.snapshots.map { Optional($0) }
    for first in holders.together.indices {
      for second in holders.together.indices where second > first {
        let count = holders.together[first][second]
        stream.add(
          nil,
          .object([
            Field("first", .string(name(all[first]))), Field("second", .string(name(all[second]))),
            Field("clusters", .number(count)),
          ]))
        stream.line(
          "shared  \(Escaping.human(name(all[first]))) and \(Escaping.human(name(all[second])))  "
            + counted(count, "cluster"))
      }
    }
    stream.close("]")
  }

  private func writeLayers(_ stream: inout ReportStream) {
    stream.open("[", "layers")
    for layer in layers.layers {
      var fields = [
        Field("depth", .number(UInt64(layer.depth))), Field("name", .string(layer.name)),
        Field("missing", .bool(layer.isMissing)),
      ]
      if let metadata = layer.metadata { fields.append(Field("metadata", .number(metadata))) }
      if let data = layer.data { fields.append(Field("data", .number(data))) }
      fields.append(Field("read", .number(layer.read)))
      if let hidden = layer.hidden { fields.append(Field("hidden", .number(hidden))) }
      fields.append(Field("zeroes", .number(layer.zeroes)))
      stream.add(nil, .object(fields))
      var line = "layer \(layer.depth)  \(Escaping.human(layer.name))  "
      if layer.isMissing {
        line += "missing"
      } else {
        line += "data \(layer.data.map(String.init) ?? "?"), read \(layer.read), "
        line += "hidden \(layer.hidden.map(String.init) ?? "?"), zeroes \(layer.zeroes)"
        if let metadata = layer.metadata { line += ", metadata \(metadata)" }
      }
      stream.line(line)
    }
    stream.close("]")
    stream.add("unanswered", .number(layers.unanswered))
    stream.line("no layer  \(layers.unanswered) bytes of the disk read as zeroes")
  }
}
