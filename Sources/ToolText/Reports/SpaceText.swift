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
    kind.remedy.shell(Escaping.shell(name), snapshot.map(Escaping.shell) ?? "NAME")
  }

  /// Lines for people in a shell: how much, what, and how it comes back.
  package var human: String {
    lines { "qatlas " + Escaping.human(remedy($0, $1)) }.joined(separator: "\n") + "\n"
  }

  /// The same for people in the explorer, whose commands bring it back.
  package var explorer: [String] {
    lines { Escaping.human($0.remedy.explorer($1.map(ChangeWords.quoted) ?? "NAME")) }
  }

  private func lines(_ remedy: (ReclaimableSpace.Kind, String?) -> String) -> [String] {
    var lines = ["\(SizeLadder.Kind.length.rawValue)  \(image.storage.length) bytes"]
    if let blocks = space.blocks {
      lines[0] += ", \(SizeLadder.Kind.blocks.rawValue) \(blocks.image)\(blocks.remark)"
      if let data = blocks.data { lines[0] += ", \(SizeLadder.Kind.dataBlocks.rawValue) \(data)" }
    }
    for part in space.parts {
      let name = snapshot(part.kind)
      let title = part.kind.name + (name.map { " " + Escaping.human($0) } ?? "")
      let stored = part.stored.map { ", \($0 == part.bytes ? "all" : Notation.compact($0)) stored" } ?? ""
      var line = "\(title)  \(Notation.compact(part.bytes))\(stored)  \(part.kind.meaning)"
      switch part.kind {
      case .compressible: line += ", as a sample of \(part.clusters) clusters says"
      case .snapshot: line += "; it shares \(part.shared) clusters with others"
      default: break
      }
      lines.append(line + ": " + remedy(part.kind, name))
    }
    if space.parts.isEmpty { lines.append("nothing that the image could do without") }
    lines += space.remarks.map { "note  " + Escaping.human($0) }
    return lines
  }

  /// One object.
  package var json: String {
    let parts = space.parts.map { part in
      var fields = [Field("kind", .string(part.kind.name))]
      let name = snapshot(part.kind)
      if let name { fields.append(Field("name", .string(name))) }
      fields.append(Field("clusters", .number(part.clusters)))
      fields.append(Field("bytes", .number(part.bytes)))
      if let stored = part.stored { fields.append(Field("stored", .number(stored))) }
      if case .snapshot = part.kind { fields.append(Field("shared-clusters", .number(part.shared))) }
      fields.append(Field("remedy", .string(remedy(part.kind, name))))
      return ReportValue.object(fields)
    }
    var fields = [Field("file-length", .number(image.storage.length))]
    if let blocks = space.blocks {
      fields.append(Field("host-blocks", .number(blocks.image)))
      if let data = blocks.data { fields.append(Field("data-file-blocks", .number(data))) }
    }
    fields += [
      Field("parts", .array(parts)), Field("notes", .array(space.remarks.map { .string($0) })),
    ]
    return ReportValue.object(fields).json() + "\n"
  }
}
