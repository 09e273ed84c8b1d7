// What `qatlas du` prints: one record per kind of space that an image could do without, each with the verb that
// brings it back.

package import Cartography
import Qcow
import QcowFormat
import Storage

/// The space of an image as text or JSON.
package struct SpaceText {
  private let space: ReclaimableSpace
  private let image: Image
  /// The image as the user called it.
  private let name: String

  /// The texts of a scan that is done.
  package init(_ scan: SpaceScan, of atlas: Atlas, name: String) {
    space = scan.result
    image = atlas.image
    self.name = name
  }

  private func snapshot(_ kind: ReclaimableSpace.Kind) -> String? {
    guard case .snapshot(let index) = kind, image.snapshots.indices.contains(index) else { return nil }
    return image.snapshots[index].name
  }

  private func remedy(_ kind: ReclaimableSpace.Kind, _ snapshot: String?) -> String {
    kind.remedy(Escaping.shell(name), snapshot.map(Escaping.shell))
  }

  /// Lines for people: how much, what, and how it comes back.
  package var human: String {
    var lines = ["stored \(Notation.compact(space.stored))  \(image.storage.length) bytes long"]
    for part in space.parts {
      let name = snapshot(part.kind)
      let title = part.kind.name + (name.map { " " + Escaping.human($0) } ?? "")
      var line = "\(title)  \(Notation.compact(part.bytes))  \(part.kind.meaning)"
      switch part.kind {
      case .compressible: line += ", as a sample of \(part.clusters) clusters says"
      case .snapshot: line += "; it shares \(part.shared) clusters with others"
      default: break
      }
      lines.append(line + ": qatlas " + Escaping.human(remedy(part.kind, name)))
    }
    if space.parts.isEmpty { lines.append("nothing that the image could do without") }
    lines += space.remarks.map { "note  " + Escaping.human($0) }
    return lines.joined(separator: "\n") + "\n"
  }

  /// One object.
  package var json: String {
    let parts = space.parts.map { part in
      var fields = [Field("kind", .string(part.kind.name))]
      let name = snapshot(part.kind)
      if let name { fields.append(Field("name", .string(name))) }
      fields.append(Field("clusters", .number(part.clusters)))
      fields.append(Field("bytes", .number(part.bytes)))
      if case .snapshot = part.kind { fields.append(Field("shared-clusters", .number(part.shared))) }
      fields.append(Field("remedy", .string(remedy(part.kind, name))))
      return ReportValue.object(fields)
    }
    return ReportValue.object([
      Field("stored", .number(space.stored)), Field("file-length", .number(image.storage.length)),
      Field("parts", .array(parts)), Field("notes", .array(space.remarks.map { .string($0) })),
    ]).json() + "\n"
  }
}
