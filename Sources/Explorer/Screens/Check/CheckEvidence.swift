// What a finding rests on: the bytes as they are in the file, the length of the file, and who else is concerned.

import Cartography
import Qcow
import QcowFormat
import Storage
import ToolText

struct CheckEvidence {
  private let screen: CheckScreen
  private let image: Image
  private var geometry: Geometry { image.geometry }

  init(_ screen: CheckScreen) {
    self.screen = screen
    image = screen.desk.scene.image
  }

  /// The place in the file that the selected finding or note is about, in bytes; nil if there is none.
  var place: UInt64? {
    if let finding = screen.finding {
      if let place = finding.place { return place.value }
      switch finding.owners.first {
      case .l1Entry(let index, nil), .l2Table(let index, nil):
        return image.header.l1TableOffset &+ UInt64(index) &* 8
      case .l2Entry(let l1Index, let l2Index, nil):
        guard l1Index < image.l1Count, let table = image.l1Entry(l1Index).table else { return nil }
        return table.value &+ UInt64(l2Index * geometry.l2EntrySize)
      case .refcountBlock(let index), .refcountTableEntry(let index):
        return image.header.refcountTableOffset &+ UInt64(index) &* 8
      case .snapshotEntry, .snapshotTable: return image.header.snapshotsOffset
      case .header: return 0
      default: return nil
      }
    }
    switch screen.note {
    case .overlap(let cluster, _): return geometry.start(of: cluster).value
    case .dirty, .corrupt, .bitmapsBitWithoutExtension, .unknownAutoclearBits, .headerLengthUnaligned:
      return 0
    default: return nil
    }
  }

  /// Lines: bytes with their address, what they are, the owners.
  var lines: [String] {
    guard let finding = screen.finding else { return noteLines }
    var lines = CheckText.lines(of: finding, program: "qatlas").split(separator: "\n").map {
      Escaping.human(String($0))
    }
    if let bytes = bytes(finding) { lines.append(bytes) }
    if case .refcountWrong(_, _, 0) = finding.kind {
      lines.append("no owner")
    } else if !finding.owners.isEmpty {
      lines.append(
        worded(UInt64(finding.owners.count), "owner", "owners") + ": "
          + finding.owners.map(CheckText.name).joined(separator: " and "))
    }
    if let guest = finding.guest {
      lines.append(
        "guest 0x\(Notation.hex(guest.lowerBound.value)) to 0x\(Notation.hex(guest.upperBound.value &- 1))")
    }
    return lines
  }

  private var noteLines: [String] {
    guard let note = screen.note else { return [] }
    var lines = [Escaping.human(CheckText.text(of: note))]
    if case .overlap(let cluster, _) = note {
      lines.append("host 0x\(Notation.hex(geometry.start(of: cluster).value))")
    }
    return lines
  }

  private func bytes(_ finding: CheckFinding) -> String? {
    let end = "   file length 0x\(Notation.hex(image.storage.length))"
    if case .refcountWrong(let number, _, _) = finding.kind {
      return count(of: HostCluster(number)).map { $0 + end }
    }
    guard let place else { return nil }
    let size: Int
    switch finding.owners.first {
    case .l2Entry: size = geometry.l2EntrySize
    default: size = 8
    }
    return words(place, size).map { $0 + end }
  }

  /// The bytes that hold the refcount of a cluster.
  private func count(of cluster: HostCluster) -> String? {
    let index = geometry.refcountTableIndex(of: cluster)
    guard index < image.refcountTableCount, let block = image.refcountTableEntry(index).block else {
      return "no refcount block counts host 0x\(Notation.hex(geometry.start(of: cluster).value))"
    }
    let place = block.value &+ UInt64(geometry.refcountBitOffset(of: cluster) / 8)
    return words(place, max(1, geometry.refcountBits / 8)).map { $0 + "   its refcount" }
  }

  private func words(_ place: UInt64, _ size: Int) -> String? {
    guard place < image.storage.length, let bytes = try? image.storage.bytes(at: place, count: size) else {
      return "@0x\(Notation.hex(place)) is not in the file"
    }
    let groups = stride(from: 0, to: bytes.count, by: 4).map { start in
      bytes[start..<min(start + 4, bytes.count)].map { Notation.hex(UInt64($0), width: 2) }.joined()
    }
    return "@0x\(Notation.hex(place))  " + groups.joined(separator: " ")
  }
}
