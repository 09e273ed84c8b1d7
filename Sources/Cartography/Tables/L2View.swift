// The rows of one L2 table: entries in use, and runs of unused ones folded into one row. Rows are
// made when they are asked for, so that a table of 262144 entries costs no strings.

package import QcowFormat
package import Qcow
import Storage

/// One L2 table as rows.
package struct L2View {
  /// One entry.
  package struct EntryRow: Equatable, Sendable {
    /// Its number in the table.
    package var index: Int
    /// The place of the disk that it maps.
    package var guest: GuestOffset
    /// The entry as stored.
    package var entry: L2Entry
    /// What it means.
    package var mapping: ClusterMapping
    /// Host cluster, or start of the compressed stream.
    package var host: HostOffset?
    /// State of every subcluster, 1 or 32 of them.
    package var subclusters: [GuestState]
    /// Three letters: C COPIED, z compressed stream, ! invalid; dots where nothing is.
    package var flags: String
    /// The same in words.
    package var meaning: String
    /// Why what the entry points to cannot be right, as far as is known.
    package var conflict: Conflict?
    /// Subclusters with bytes.
    package var allocatedCount: Int
    /// Subclusters that read as zeroes by the entry itself.
    package var zeroCount: Int
  }

  /// One row.
  package enum Row: Equatable, Sendable {
    case entry(EntryRow)
    /// Entries that are not in use.
    case unused(first: Int, count: Int)
    /// Entries that map nothing because the disk ends before.
    case pastEnd(first: Int, count: Int)
  }

  /// The L1 entry whose table it is.
  package let l1Index: Int
  /// Nil if the L1 entry is empty.
  package let table: HostOffset?
  /// That entry.
  package let l1Entry: L1Entry
  /// The sizes of the image.
  package let geometry: Geometry
  /// Entries of the table.
  package let entryCount: Int
  /// Entries that are not empty.
  package let usedCount: Int
  /// Entries that map a place on the disk.
  package let entriesOnDisk: Int
  /// Unused entries are folded.
  package var isFolded = true

  let decoder: EntryDecoder
  private let atlas: Atlas
  private let bytes: [UInt8]
  /// Where runs begin that are alike in being used or not, and the number of the first row of each.
  private var runs: [Run] = []
  private struct Run: Sendable {
    var first: Int32
    var row: Int32
    var isUsed: Bool
  }

  /// The guest range the table maps, cut at the end of the disk.
  package var guestRange: Range<GuestOffset> {
    let start = geometry.guestOffset(l1Index: l1Index, l2Index: 0)
    let end = min(start.value &+ geometry.bytesPerL2Table, geometry.virtualSize)
    return start..<max(start, GuestOffset(end))
  }

  /// Reads the table of an L1 entry, as the image has it now.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package init(_ atlas: Atlas, l1Index: Int) throws(ImageError) {
    let image = atlas.image
    self.l1Index = l1Index
    geometry = image.geometry
    self.atlas = atlas
    decoder = atlas.survey.currentEntries
    l1Entry = image.l1Entry(l1Index)
    table = l1Entry.table
    entryCount = geometry.l2EntriesPerTable
    let start = geometry.guestOffset(l1Index: l1Index, l2Index: 0).value
    let left = geometry.virtualSize - min(geometry.virtualSize, start)
    entriesOnDisk = Int(min(UInt64(entryCount), geometry.clustersCovering(left)))
    let content = try image.l2TableBytes(l1Index: l1Index) ?? []
    bytes = content
    let size = geometry.l2EntrySize
    var used = 0
    var row = 0
    var isInRun = false
    for index in 0..<entryCount {
      let isUsed = Self.isUsed(content, index * size, size)
      if isUsed { used += 1 }
      // Unused entries behind the end of the disk are a run of their own.
      let begins = index == 0 || isUsed != isInRun || (index == entriesOnDisk && !isUsed)
      if begins { runs.append(Run(first: Int32(index), row: Int32(row), isUsed: isUsed)) }
      if begins || isUsed { row += 1 }
      isInRun = isUsed
    }
    usedCount = used
    foldedRows = row
  }

  private let foldedRows: Int

  private static func isUsed(_ bytes: [UInt8], _ at: Int, _ size: Int) -> Bool {
    guard at + size <= bytes.count else { return false }
    for index in at..<at + size where bytes[index] != 0 { return true }
    return false
  }

  /// Rows, folded or not.
  package var rowCount: Int { isFolded ? foldedRows : entryCount }

  /// The entry at an index of the table, which must exist.
  package func entry(_ index: Int) -> L2Entry {
    let at = index * geometry.l2EntrySize
    let bitmap = geometry.hasExtendedL2 ? BigEndian.u64(bytes, at + 8) : 0
    return L2Entry(descriptor: BigEndian.u64(bytes, at), bitmap: SubclusterBitmap(raw: bitmap))
  }

  /// The last run for which `isBefore` holds.
  private func lastRun(_ isBefore: (Run) -> Bool) -> Int {
    var low = 0
    var high = runs.count
    while low < high {
      let middle = (low + high) / 2
      if isBefore(runs[middle]) { low = middle + 1 } else { high = middle }
    }
    return low - 1
  }

  private func end(ofRun index: Int) -> Int {
    index + 1 < runs.count ? Int(runs[index + 1].first) : entryCount
  }

  /// The row with the given number; nil outside.
  package func row(_ number: Int) -> Row? {
    guard number >= 0, number < rowCount else { return nil }
    guard isFolded else {
      return number < entriesOnDisk || entry(number) != .empty
        ? .entry(entryRow(number)) : .pastEnd(first: number, count: 1)
    }
    let index = lastRun { Int($0.row) <= number }
    guard runs.indices.contains(index) else { return nil }
    let run = runs[index]
    if run.isUsed { return .entry(entryRow(Int(run.first) + number - Int(run.row))) }
    let first = Int(run.first)
    let count = end(ofRun: index) - first
    return first >= entriesOnDisk ? .pastEnd(first: first, count: count) : .unused(first: first, count: count)
  }

  /// The row that shows entry `index`, alone or in a run.
  package func rowNumber(ofEntry index: Int) -> Int {
    let entry = min(max(0, index), entryCount - 1)
    guard isFolded else { return entry }
    let number = lastRun { Int($0.first) <= entry }
    guard runs.indices.contains(number) else { return 0 }
    let run = runs[number]
    return Int(run.row) + (run.isUsed ? entry - Int(run.first) : 0)
  }

  /// The nearest entry in use behind (or before) `index`.
  package func nextUsed(from index: Int, forward: Bool) -> Int? {
    let target = forward ? index + 1 : index - 1
    guard target >= 0, target < entryCount else { return nil }
    var run = lastRun { Int($0.first) <= target }
    guard runs.indices.contains(run) else { return nil }
    if runs[run].isUsed { return target }
    // Runs take turns, but for the one behind the end of the disk.
    while runs.indices.contains(run), !runs[run].isUsed { run += forward ? 1 : -1 }
    guard runs.indices.contains(run) else { return nil }
    return forward ? Int(runs[run].first) : end(ofRun: run) - 1
  }

  /// The words for a folded row.
  package func text(of row: Row) -> String {
    func entries(_ count: Int) -> String { counted(count, "entry", "entries") }
    switch row {
    case .entry(let entry): return entry.meaning
    case .pastEnd(_, let count): return "\(entries(count)) past the end of the virtual disk"
    case .unused(let first, let count):
      let start = geometry.guestOffset(l1Index: l1Index, l2Index: first).value
      let end = start &+ UInt64(count) << UInt64(geometry.clusterBits)
      let words = decoder.unallocatedText("the guest", start..<max(start, min(end, geometry.virtualSize)))
      return "\(entries(count)), not allocated (\(words))"
    }
  }

  /// Why the table itself cannot be right, as far as is known.
  package var conflict: Conflict? { atlas.tableConflict(l1Index) }

  /// What a write has to do about the table.
  private var tableCopy: EntryDecoder.TableCopy {
    guard let table else { return .missing }
    if l1Entry.isCopied { return .inPlace }
    let cluster = geometry.cluster(of: table)
    let refcount = try? atlas.image.refcount(of: cluster)
    return refcount == 1 ? .unsharedButNotCopied : .shared
  }

  private func entryRow(_ index: Int) -> EntryRow {
    let entry = entry(index)
    let mapping = geometry.mapping(of: entry, version: decoder.version)
    let guest = geometry.guestOffset(l1Index: l1Index, l2Index: index)
    let target = atlas.survey.entries.target(of: entry)
    let states = decoder.states(of: entry, at: guest.value, target)
    var host: HostOffset?
    switch mapping {
    case .data(let start), .zeroMapped(let start): host = start
    case .subclusters(let start, _): host = start
    case .compressed(let extent): host = extent.offset
    case .unallocated, .zero, .invalid: break
    }
    let isBad = states.first == .bad
    let flags = (entry.isCopied ? "C" : ".") + (entry.isCompressed ? "z" : ".") + (isBad ? "!" : ".")
    return EntryRow(
      index: index, guest: guest, entry: entry, mapping: mapping,
      host: host, subclusters: states, flags: flags, meaning: decoder.meaning(of: entry, target),
      conflict: target.conflict,
      allocatedCount: states.count { $0 == .data || $0 == .shared },
      zeroCount: states.count { $0 == .zero || $0 == .zeroKept })
  }

  /// The entry bit by bit; `subcluster` is what the cost sentence is about.
  package func detail(of index: Int, subcluster: Int) -> EntryDetail {
    let entry = entry(index)
    let place = (table?.value ?? 0) &+ UInt64(max(0, index) * geometry.l2EntrySize)
    let title =
      table == nil ? "entry \(index): no L2 table" : "entry \(index) at host 0x\(Notation.hex(place))"
    return EntryDetail(
      title: title,
      lines: decoder.lines(
        of: entry, subcluster: subcluster,
        at: geometry.guestOffset(l1Index: l1Index, l2Index: max(0, index)).value,
        atlas.survey.entries.target(of: entry),
        table: tableCopy))
  }
}

/// An entry bit by bit.
package struct EntryDetail: Equatable, Sendable {
  /// One line of the pane.
  package struct Line: Equatable, Sendable {
    /// "descriptor", "alloc bits", "zero bits", "cost".
    package var label: String
    /// The value in hexadecimal, or empty.
    package var value: String
    /// What the value means.
    package var text: String
  }
  /// Which entry it is.
  package var title: String
  /// The lines, the descriptor first.
  package var lines: [Line]
}
