// Names for bytes: for any byte of the file the structure and the field it is part of, where that
// field begins and ends, and what its value means.

import Qcow
package import QcowFormat
import Storage

/// The field a byte is part of.
package struct ByteField: Equatable, Sendable {
  /// "header", "L2 table", "data" and the like.
  package var structure: String
  /// "cluster_bits", "L2[16] descriptor"; may be empty.
  package var name: String
  /// The bytes of the field.
  package var range: Range<HostOffset>
  /// The value in words.
  package var value: String
  /// What the cluster is on the host map.
  package var state: HostState
}

/// Explains bytes of the file.
package final class ByteMap {
  /// Finds who uses a host cluster.
  package let owners: Owners
  private var atlas: Atlas { owners.atlas }
  private var image: Image { atlas.image }
  private var entries: GuestEntries { atlas.survey.entries }
  private var headerFields: [ByteField] = []
  private var snapshotFields: [ByteField] = []
  private var revision = -1

  package init(_ owners: Owners) { self.owners = owners }

  /// The fields of a stretch of bytes, at most `limit` of them.
  package func fields(from offset: HostOffset, count: Int, limit: Int = 512) -> [ByteField] {
    var result: [ByteField] = []
    var at = offset
    let end = offset.value.addingReportingOverflow(UInt64(clamping: count))
    let stop = HostOffset(end.overflow ? .max : end.partialValue)
    while at < stop, result.count < limit {
      let field = field(at: at)
      result.append(field)
      guard field.range.upperBound > at else { break }
      at = field.range.upperBound
    }
    return result
  }

  /// The field that the byte at `offset` is part of.
  package func field(at offset: HostOffset) -> ByteField {
    let geometry = image.geometry
    let offset = HostOffset(min(offset.value, UInt64(Int64.max)))
    if revision != atlas.revision {
      revision = atlas.revision
      headerFields = HeaderFields(image).list
      snapshotFields = []
    }
    let cluster = geometry.cluster(of: offset)
    let start = geometry.start(of: cluster)
    let list = owners.owners(of: cluster)
    let inside = offset - start
    if cluster.value >= atlas.fileClusters { return whole("behind the end of the file", "", start, .pastEnd) }
    if let field = streamField(offset, list) { return field }
    switch list.owners.first {
    case .header:
      return headerFields.last { $0.range.contains(offset) } ?? whole("header", "", start, .header)
    case .l1Table: return l1Field(offset)
    case .refcountTable: return refcountTableField(offset)
    case .refcountBlock(let index): return refcountField(start, inside, index)
    case .l2Table(let index): return l2Field(start, inside, "L1[\(index)]", index)
    case .snapshotL2(_, let index): return l2Field(start, inside, "a snapshot's L1[\(index)]", index)
    case .snapshotL1(let snapshot): return snapshotL1Field(offset, snapshot)
    case .snapshotTable:
      if snapshotFields.isEmpty { snapshotFields = SnapshotFields(image).list }
      return snapshotFields.first { $0.range.contains(offset) }
        ?? whole("snapshot table", "", start, .snapshotTable)
    case .data(_, _, _, let guest): return dataField(start, inside, guest, list.state)
    case .snapshotData(let snapshot, _, let index, let table, let guest):
      let place = table + UInt64(index * geometry.l2EntrySize)
      let bitmap = geometry.hasExtendedL2 ? word(place + 8) : 0
      return dataField(
        start, inside, guest, list.state,
        L2Entry(descriptor: word(place), bitmap: SubclusterBitmap(raw: bitmap)),
        " of " + Owner.name(ofSnapshot: snapshot, image.snapshots))
    case .beyond(_, let index, _):
      return whole("data", "L2[\(index)]", start, list.state, "behind the end of the disk")
    case .vmState(_, let l1, let index, _):
      return whole("saved VM state", "L1[\(l1)] L2[\(index)]", start, list.state, "no place on the disk")
    case .compressed(_, let index, _, let guest):
      return whole(
        "compressed data", "L2[\(index)]", start, list.state, "stream of guest 0x\(Notation.hex(guest.value))"
      )
    case .bitmap(let part, let name): return bitmapField(part, name, offset, start)
    case .crypto: return whole("encryption header", "", start, .crypto)
    case .leaked(let refcount, _):
      return whole("leaked", "", start, .leaked, "refcount \(refcount), no owner")
    case .free: return whole("free", "", start, .free)
    case .pastEnd: return whole("behind the end of the file", "", start, .pastEnd)
    case nil where list.facts?.state == .leaked && atlas.isDone:
      return whole("leaked", "", start, .leaked, "refcount \(list.refcount ?? 0), no owner")
    case nil: return whole("unknown", "", start, list.state, "the owner has not been found yet")
    }
  }

  /// A field that is a whole cluster.
  private func whole(
    _ structure: String, _ name: String, _ start: HostOffset, _ state: HostState, _ value: String = ""
  ) -> ByteField {
    ByteField(
      structure: structure, name: name, range: start..<start + image.geometry.clusterSize, value: value,
      state: state)
  }

  private func field(
    _ structure: String, _ name: String, _ start: HostOffset, _ length: UInt64, _ value: String,
    _ state: HostState
  ) -> ByteField {
    ByteField(structure: structure, name: name, range: start..<start + length, value: value, state: state)
  }

  private func word(_ offset: HostOffset) -> UInt64 {
    guard let bytes = try? image.storage.bytes(at: offset.value, count: 8) else { return 0 }
    return BigEndian.u64(bytes, 0)
  }

  /// The rest of a table's last cluster.
  private func padding(_ structure: String, _ end: HostOffset, _ offset: HostOffset, _ state: HostState)
    -> ByteField
  {
    let stop = HostOffset(image.geometry.roundDown(offset.value)) + image.geometry.clusterSize
    return ByteField(
      structure: structure, name: "", range: min(end, offset)..<stop, value: "unused", state: state)
  }

  static func text(ofL1 raw: UInt64) -> String {
    let entry = L1Entry(raw: raw)
    guard let table = entry.table else { return raw == 0 ? "empty" : "no table, stray bits" }
    var text = "L2 table at 0x\(Notation.hex(table.value))" + (entry.isCopied ? ", COPIED" : "")
    if entry.reservedBits != 0 { text += ", reserved bits set" }
    return text
  }

  private func l1Field(_ offset: HostOffset) -> ByteField {
    let start = HostOffset(image.header.l1TableOffset)
    let index = (offset - start) / 8
    guard index < UInt64(image.l1Count) else {
      return padding("L1 table", start + UInt64(image.l1Count) * 8, offset, .l1Table)
    }
    let place = start + index * 8
    return field("L1 table", "L1[\(index)]", place, 8, Self.text(ofL1: word(place)), .l1Table)
  }

  private func snapshotL1Field(_ offset: HostOffset, _ number: Int) -> ByteField {
    guard image.snapshots.indices.contains(number) else {
      return whole(
        "snapshot L1 table", "", HostOffset(image.geometry.roundDown(offset.value)), .snapshotTables)
    }
    let snapshot = image.snapshots[number]
    let start = HostOffset(snapshot.l1TableOffset)
    let index = (offset - start) / 8
    guard index < UInt64(snapshot.l1Size) else {
      return padding("snapshot L1 table", start + UInt64(snapshot.l1Size) * 8, offset, .snapshotTables)
    }
    let place = start + index * 8
    return field("snapshot L1 table", "L1[\(index)]", place, 8, Self.text(ofL1: word(place)), .snapshotTables)
  }

  private func bitmapField(
    _ part: BitmapPart?, _ name: String, _ offset: HostOffset, _ start: HostOffset
  ) -> ByteField {
    let bitmaps = owners.bitmaps
    switch part {
    case .directory: return directoryField(bitmaps, offset, start)
    case .table(let number) where bitmaps.places.indices.contains(number):
      let structure = "table of bitmap \(name)"
      let entry = bitmaps.places[number].entry
      let index = (offset - entry.tableOffset) / 8
      guard index < UInt64(entry.tableSize) else {
        return padding(structure, entry.tableOffset + UInt64(entry.tableSize) * 8, offset, .bitmap)
      }
      let place = entry.tableOffset + index * 8
      let raw = BitmapTableEntry(word(place))
      let what =
        raw.cluster.map { "bits at 0x\(Notation.hex($0.value))" } ?? (raw.isAllOnes ? "all set" : "none set")
      let guest = bitmaps.guest(number, entry: Int(clamping: index)).map {
        "guest 0x\(Notation.hex($0.lowerBound.value)): "
      }
      return field(structure, "bitmap table[\(index)]", place, 8, (guest ?? "") + what, .bitmap)
    case .bits(let number, let index) where bitmaps.places.indices.contains(number):
      let place = start + (offset - start) / 8 * 8
      let set = word(place).nonzeroBitCount
      var value = "\(set) of 64 bits set"
      if let guest = bitmaps.guest(number, entry: index) {
        let first = guest.lowerBound + (place - start) * 8 * bitmaps.places[number].entry.granularity
        value =
          first < guest.upperBound ? "guest 0x\(Notation.hex(first.value)): \(value)" : "behind the disk"
      }
      return field("bitmap \(name)", "bits", place, 8, value, .bitmap)
    default: return whole("bitmaps", "", start, .bitmap)
    }
  }

  private func directoryField(_ bitmaps: BitmapPlaces, _ offset: HostOffset, _ start: HostOffset) -> ByteField
  {
    guard let place = bitmaps.places.last(where: { $0.offset <= offset }),
      offset - place.offset < UInt64(place.entry.entrySize)
    else { return padding("bitmap directory", offset, offset, .bitmap) }
    let (entry, at) = (place.entry, offset - place.offset)
    let length = UInt64(ByteText.bytes(entry.name).count)
    let extra = UInt64(entry.entrySize) - min(UInt64(entry.entrySize), 24)
    let flags = [entry.isInUse ? "in use" : nil, entry.recordsWrites ? "auto" : nil].compactMap { $0 }
    let fields: [(name: String, start: UInt64, length: UInt64, value: String)] = [
      ("bitmap_table_offset", 0, 8, "0x\(Notation.hex(entry.tableOffset.value))"),
      ("bitmap_table_size", 8, 4, "\(entry.tableSize) entries"),
      ("flags", 12, 4, entry.flags == 0 ? "none" : flags.isEmpty ? "unknown" : flags.joined(separator: ", ")),
      (
        "type", 16, 1,
        entry.type == BitmapDirectoryEntry.changedRanges ? "1: ranges that changed" : "\(entry.type)"
      ),
      ("granularity_bits", 17, 1, "\(entry.granularityBits)"),
      ("name_size", 18, 2, "\(length)"), ("extra_data_size", 20, 4, ""),
      ("extra data and name", 24, extra, Escaping.human(entry.name)),
    ]
    let found = fields.first { at >= $0.start && at - $0.start < $0.length }
    guard let found else { return padding("bitmap directory", offset, offset, .bitmap) }
    return field(
      "bitmap directory, \"\(Escaping.human(entry.name))\"", found.name, place.offset + found.start,
      found.length,
      found.value, .bitmap)
  }

  private func refcountTableField(_ offset: HostOffset) -> ByteField {
    let start = HostOffset(image.header.refcountTableOffset)
    let index = (offset - start) / 8
    let place = start + index * 8
    let entry = RefcountTableEntry(raw: word(place))
    var text = entry.block.map { "refcount block at 0x\(Notation.hex($0.value))" } ?? "empty"
    if entry.reservedBits != 0 { text += ", reserved bits set" }
    return field("refcount table", "refcount table[\(index)]", place, 8, text, .refcountTable)
  }

  private func refcountField(_ start: HostOffset, _ inside: UInt64, _ block: Int) -> ByteField {
    let geometry = image.geometry
    let base = UInt64(block) << UInt64(geometry.refcountBlockBits)
    let order = UInt64(geometry.refcountOrder)
    // Bytes of a field, and counts in it.
    let length: UInt64 = order > 3 ? 1 << (order - 3) : 1
    let perField: UInt64 = order > 3 ? 1 : 8 >> order
    let first = base &+ inside / length * perField
    let place = start + inside / length * length
    let values = (0..<perField).map { number in
      (try? image.refcount(of: HostCluster(first &+ number))).map(String.init) ?? "?"
    }
    let last = first &+ (perField - 1)
    let name =
      perField == 1
      ? "refcount[\(first)]" : "refcount[\(first)..\(last)]"
    return field("refcount block", name, place, length, values.joined(separator: " "), .refcountBlock)
  }

  private func l2Field(_ start: HostOffset, _ inside: UInt64, _ of: String, _ l1Index: Int) -> ByteField {
    let geometry = image.geometry
    let size = UInt64(geometry.l2EntrySize)
    let index = inside / size
    let place = start + index * size
    let raw = word(place)
    let isBitmap = geometry.hasExtendedL2 && inside % 16 >= 8
    let bitmap = geometry.hasExtendedL2 ? word(place + 8) : 0
    let structure = "L2 table of \(of)"
    if isBitmap {
      let value = SubclusterBitmap(raw: bitmap)
      let text =
        "alloc \(Notation.hex(UInt64(value.allocated), width: 8)) zero \(Notation.hex(UInt64(value.zero), width: 8))"
      return field(structure, "L2[\(index)] bitmap", place + 8, 8, text, .l2Table)
    }
    let entry = L2Entry(descriptor: raw, bitmap: SubclusterBitmap(raw: bitmap))
    var text = entries.decoder.decoder.meaning(of: entry, entries.target(of: entry))
    if entry.isCompressed {
      text += " at 0x\(Notation.hex(geometry.compressedExtent(of: raw).offset.value))"
    } else if entry.offsetBits != 0 {
      text += " at 0x\(Notation.hex(entry.offsetBits))" + (entry.isCopied ? ", COPIED" : "")
    }
    let guest = geometry.guestOffset(l1Index: l1Index, l2Index: Int(index))
    let name = geometry.hasExtendedL2 ? "L2[\(index)] descriptor" : "L2[\(index)]"
    return field(structure, name, place, 8, "guest 0x\(Notation.hex(guest.value)): \(text)", .l2Table)
  }

  /// A stream, or the bytes between two; nil in a cluster whose first owner is no stream.
  private func streamField(_ offset: HostOffset, _ list: OwnerList) -> ByteField? {
    switch list.owners.first {
    case .compressed, .snapshotData, .beyond, .vmState: break
    default: return nil
    }
    guard let place = owners.stream(at: offset) else { return nil }
    func field(_ name: String, _ value: String) -> ByteField {
      ByteField(
        structure: "compressed data", name: name, range: place.range, value: value, state: list.state)
    }
    switch place.stream?.owner {
    case .compressed(_, let index, _, let guest):
      return field("L2[\(index)]", "stream of guest 0x\(Notation.hex(guest.value))")
    case .snapshotData(let snapshot, _, let index, _, let guest):
      let whose = Owner.name(ofSnapshot: snapshot, image.snapshots)
      return field("L2[\(index)]", "stream of guest 0x\(Notation.hex(guest.value)) of \(whose)")
    case let other?: return field("", "stream of " + other.text(snapshots: image.snapshots))
    case nil:
      return field("", place.isKnown ? "unused: no stream covers it" : "its stream has not been found yet")
    }
  }

  /// Bytes of the guest; those of a snapshot by its own `entry`, and with whose they are.
  private func dataField(
    _ start: HostOffset, _ inside: UInt64, _ guest: GuestOffset, _ state: HostState,
    _ own: L2Entry? = nil, _ whose: String = ""
  ) -> ByteField {
    let geometry = image.geometry
    let part = inside >> UInt64(geometry.subclusterBits)
    let first = part << UInt64(geometry.subclusterBits)
    let entry = own ?? entries.entry(of: geometry.cluster(of: guest).value)
    let what = atlas.survey.currentEntries.state(
      of: entry, Int(part), at: geometry.roundDown(guest.value), entries.target(of: entry))
    let name = geometry.hasExtendedL2 ? "subcluster \(part)" : ""
    return field(
      "data", name, start + first, geometry.subclusterSize,
      "guest 0x\(Notation.hex(guest.value &+ first))" + whose
        + (what == .data || what == .shared ? "" : ", " + Legend.guest(what).explanation),
      state)
  }
}
