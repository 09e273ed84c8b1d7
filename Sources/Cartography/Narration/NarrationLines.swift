// The lines of a narration: changes that are alike and stand side by side become one line, so that
// a write of a gigabyte reads as easily as one of a cluster.

import QcowFormat
package import Storage

extension Narration {
  /// What happened to one entry, as far as neighbours can share the words.
  private enum Kind: Hashable {
    case newCluster
    case moved
    case freedToZero
    case freedToNothing
    case toZero
    case toNothing
    case keptAsZero
    case bits
    case copied
    case compressed
    case other
  }

  /// All lines: tables, entries, refcounts, file.
  func tell() -> [String] {
    var lines = pinLine().map { [$0] } ?? []
    if let moving, (moving.before == 0) != (moving.after == 0) {
      lines.append(
        "header: \(moving.after == 0 ? "no cluster is being moved any more" : "clusters are being moved")")
    }
    if let diskSize, diskSize.isChange {
      lines.append("header: disk of \(diskSize.before) -> \(diskSize.after) bytes")
    }
    if let snapshots, snapshots.isChange {
      lines.append("header: snapshots \(snapshots.before) -> \(snapshots.after)")
    }
    lines += tableLines()
    lines += entryLines()
    lines += copyLines()
    lines += refcountLines()
    if let line = fileLine() { lines.append(line) }
    return lines
  }

  private func pinLine() -> String? {
    if let pinShift, pinShift.isChange {
      if pinShift.after == 0 { return "header: pin removed" }
      if pinShift.before == 0 {
        return "header: pinned, places at guest + 0x\(Notation.hex(pinShift.after))"
      }
    }
    guard let pinBit, pinBit.isChange else { return nil }
    return "header: the pin's autoclear bit \(pinBit.after ? "set" : "cleared")"
  }

  private func tableLines() -> [String] {
    var lines: [String] = []
    for (index, change) in tables.sorted(by: { $0.key < $1.key }) {
      let before = L1Entry(raw: change.before).table
      let after = L1Entry(raw: change.after).table
      switch (before, after) {
      case (nil, let new?): lines.append("L1[\(index)] -> 0x\(Notation.hex(new.value)), new L2 table")
      case (let old?, nil):
        lines.append("L1[\(index)] -> empty, L2 table 0x\(Notation.hex(old.value)) dropped")
      case (let old?, let new?) where old != new:
        lines.append(
          "L1[\(index)] -> 0x\(Notation.hex(new.value)), copy of the L2 table at 0x\(Notation.hex(old.value))"
        )
      default: lines.append("L1[\(index)] COPIED \(L1Entry(raw: change.after).isCopied ? "set" : "cleared")")
      }
    }
    for (index, change) in blocks.sorted(by: { $0.key < $1.key }) {
      if let block = RefcountTableEntry(raw: change.after).block {
        lines.append("refcount table[\(index)] -> 0x\(Notation.hex(block.value)), new refcount block")
      } else {
        lines.append("refcount table[\(index)] -> empty")
      }
    }
    return lines
  }

  private func kind(_ change: ChangeList<L2Entry>.Element) -> Kind {
    let before = cluster(of: change.before)
    let after = cluster(of: change.after)
    if change.after.isCompressed { return .compressed }
    switch (before, after) {
    case (nil, _?): return .newCluster
    case (let old?, let new?):
      if old != new { return .moved }
      let zeroBefore = reads(change.before)
      if reads(change.after) && !zeroBefore { return .keptAsZero }
      if change.before.bitmap != change.after.bitmap
        || change.before.descriptor & 1 != change.after.descriptor & 1
      {
        return .bits
      }
      return .copied
    case (_?, nil): return reads(change.after) ? .freedToZero : .freedToNothing
    case (nil, nil):
      if change.before.isCompressed { return reads(change.after) ? .freedToZero : .freedToNothing }
      if reads(change.after) { return .toZero }
      return change.after == .empty ? .toNothing : .bits
    }
  }

  /// All of the cluster reads as zeroes by its entry.
  private func reads(_ entry: L2Entry) -> Bool {
    geometry.hasExtendedL2 ? entry.bitmap.zero == .max : entry.descriptor & L2Entry.zeroFlag != 0
  }

  private func entryLines() -> [String] {
    var lines: [String] = []
    let perTable = UInt64(geometry.l2EntriesPerTable)
    var at = 0
    while at < entries.count, lines.count <= Self.maximumLines {
      let first = entries[at]
      let kind = kind(first)
      var last = first
      at += 1
      while at < entries.count {
        let next = entries[at]
        guard next.key == last.key + 1, self.kind(next) == kind, follows(last, next, kind),
          next.key % perTable != 0
        else { break }
        last = next
        at += 1
      }
      lines.append(line(kind, first.key, last.key, first, last))
    }
    return lines
  }

  /// The second change continues the first one: its clusters lie directly behind.
  private func follows(_ a: ChangeList<L2Entry>.Element, _ b: ChangeList<L2Entry>.Element, _ kind: Kind)
    -> Bool
  {
    func isNext(_ a: L2Entry, _ b: L2Entry) -> Bool {
      guard let first = cluster(of: a), let second = cluster(of: b) else {
        return cluster(of: a) == cluster(of: b)
      }
      return second == first + 1
    }
    switch kind {
    case .bits:
      return isNext(a.after, b.after) && a.before.bitmap == b.before.bitmap
        && a.after.bitmap == b.after.bitmap
    case .compressed, .other: return false
    default: return isNext(a.before, b.before) && isNext(a.after, b.after)
    }
  }

  private func place(_ first: UInt64, _ last: UInt64) -> String {
    let size = UInt64(geometry.l2EntriesPerTable)
    let range = first == last ? "L2[\(first % size)]" : "L2[\(first % size)..\(last % size)]"
    return geometry.l1Entries(for: geometry.virtualSize) > 1 ? "L1[\(first / size)] \(range)" : range
  }

  private func hosts(_ first: L2Entry, _ last: L2Entry) -> String {
    let start = "0x" + Notation.hex(first.offsetBits)
    return first.offsetBits == last.offsetBits ? start : start + "..0x" + Notation.hex(last.offsetBits)
  }

  private func line(
    _ kind: Kind, _ first: UInt64, _ last: UInt64, _ a: ChangeList<L2Entry>.Element,
    _ b: ChangeList<L2Entry>.Element
  ) -> String {
    let place = place(first, last)
    let count = last - first + 1
    let before = hosts(a.before, b.before)
    let after = hosts(a.after, b.after)
    switch kind {
    case .newCluster: return "\(place) -> \(after), " + worded(count, "new cluster", "\(count) new clusters")
    case .moved: return "\(place) -> \(after), moved from \(before)"
    case .freedToZero:
      return a.before.isCompressed
        ? "\(place) -> reads zero, stream freed" : "\(place) -> reads zero, \(before) freed"
    case .freedToNothing:
      return a.before.isCompressed
        ? "\(place) -> not allocated, stream freed" : "\(place) -> not allocated, \(before) freed"
    case .toZero: return "\(place) -> reads zero"
    case .toNothing: return "\(place) -> not allocated"
    case .keptAsZero: return "\(place) -> reads zero, \(after) kept"
    case .copied: return "\(place) COPIED \(a.after.isCopied ? "set" : "cleared")"
    case .compressed:
      return
        "\(place) -> compressed at 0x\(Notation.hex(geometry.compressedExtent(of: a.after.descriptor).offset.value))"
    case .bits: return "\(place) " + bits(a)
    case .other: return "\(place) changed"
    }
  }

  private func bits(_ change: ChangeList<L2Entry>.Element) -> String {
    guard geometry.hasExtendedL2 else {
      return change.after.descriptor & L2Entry.zeroFlag != 0
        ? "zero flag set" : "zero flag cleared, has data now"
    }
    var parts: [String] = []
    func part(_ name: String, _ before: UInt32, _ after: UInt32) {
      if before != after {
        parts.append(
          "\(name) \(Notation.hex(UInt64(before), width: 8)) -> \(Notation.hex(UInt64(after), width: 8))")
      }
    }
    part("alloc", change.before.bitmap.allocated, change.after.bitmap.allocated)
    part("zero", change.before.bitmap.zero, change.after.bitmap.zero)
    return parts.joined(separator: ", ")
  }

  /// "60K copied from 0x50000 to 0x60000": what a write moved beside its own bytes. The bytes come from where
  /// the entry pointed before, and without a cluster there from the layer below.
  private func copyLines() -> [String] {
    guard !copies.isEmpty, !undone else { return [] }
    var told: [(source: String, sourceAt: UInt64?, first: UInt64, count: UInt64, bytes: UInt64)] = []
    for change in entries {
      guard let after = cluster(of: change.after), let bytes = copies[after] else { continue }
      let before = cluster(of: change.before)
      let source: String
      if change.before.isCompressed {
        source = "a compressed stream"
      } else if before == after {
        source = "the layer below, into its own place"
      } else {
        source = before == nil ? "the layer below" : ""
      }
      let isRow =
        told.last.map {
          $0.source == source && $0.first + $0.count == after
            && $0.sourceAt.map { at in at + told[told.count - 1].count } == before
            && changed(guest: change.key &- 1)
        } ?? false
      if isRow {
        told[told.count - 1].count += 1
        told[told.count - 1].bytes += bytes
      } else {
        told.append((source, change.before.isCompressed ? nil : before, after, 1, bytes))
      }
    }
    func range(_ first: UInt64, _ count: UInt64) -> String {
      let bits = UInt64(geometry.clusterBits)
      let start = "0x" + Notation.hex(first << bits)
      return count == 1 ? start : start + "..0x" + Notation.hex((first + count - 1) << bits)
    }
    return told.map { row in
      let source = row.source.isEmpty ? row.sourceAt.map { range($0, row.count) } ?? "" : row.source
      return "\(Notation.compact(row.bytes)) copied from \(source) to \(range(row.first, row.count))"
    }
  }

  private func refcountLines() -> [String] {
    var lines: [String] = []
    var at = 0
    while at < refcounts.count, lines.count <= Self.maximumLines {
      let first = refcounts[at]
      var last = first.key
      at += 1
      while at < refcounts.count, refcounts[at].key == last + 1, refcounts[at].before == first.before,
        refcounts[at].after == first.after
      {
        last += 1
        at += 1
      }
      let range = last == first.key ? String(first.key) : "\(first.key)..\(last)"
      lines.append("refcount[\(range)] \(first.before) -> \(first.after)")
    }
    return lines
  }

  /// "0xa0000 reused, file +66K"; nil if neither is so.
  private func fileLine() -> String? {
    var parts: [String] = []
    let oldEnd = geometry.clustersCovering(numbers.lengthBefore)
    let reused = refcounts.filter { $0.before == 0 && $0.after > 0 && $0.key < oldEnd }.map(\.key)
    if let first = reused.first, let last = reused.last, !undone {
      let start = "0x" + Notation.hex(first << UInt64(geometry.clusterBits))
      if reused.count == 1 {
        parts.append("\(start) reused")
      } else if last - first == UInt64(reused.count - 1) {
        parts.append("\(start)..0x\(Notation.hex(last << UInt64(geometry.clusterBits))) reused")
      } else {
        parts.append("\(reused.count) clusters reused")
      }
    }
    let (before, after) = (numbers.lengthBefore, numbers.lengthAfter)
    if after > before { parts.append("file +\(Notation.compact(after - before))") }
    if after < before { parts.append("file -\(Notation.compact(before - after))") }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }
}

extension Narration {
  /// Adds what the operation did to a file of a layer below: bytes alone, since its clusters are none of the
  /// image's. `length` is what the file has now.
  package mutating func add(_ operation: StorageOperation, to file: String, _ name: String, length: UInt64) {
    var written: UInt64 = 0
    var cleared: UInt64 = 0
    for event in operation.events {
      switch event.kind {
      case .write: written += event.count
      case .zero, .punch: cleared += event.count
      case .truncate, .flush, .note: break
      }
    }
    var parts: [String] = []
    if written > 0 { parts.append("\(Notation.compact(written)) written") }
    if cleared > 0 { parts.append("\(Notation.compact(cleared)) given back or made zeroes") }
    let before = operation.lengthBefore ?? length
    let after = operation.lengthAfter ?? length
    if after > before { parts.append("file +\(Notation.compact(after - before))") }
    if after < before { parts.append("file -\(Notation.compact(before - after))") }
    guard !parts.isEmpty else { return }
    append("\(file) \(name): \(parts.joined(separator: ", "))")
  }
}
