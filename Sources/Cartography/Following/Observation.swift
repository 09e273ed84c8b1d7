// What a look at a file found: pages that another program has written. They go into the overlay as an operation
// like our own, with a note for every entry that differs, so that maps, log, history and lenses follow it as they
// follow everything.

package import Qcow
import QcowFormat
package import Storage

/// The difference between a file and what is shown of it.
package struct Observation {
  /// A page of a table that differs.
  struct Change {
    let table: WatchedTable
    let page: UInt64
  }

  /// By number: what the file has, and the table for which it was read first.
  var pages: [UInt64: (bytes: [UInt8], table: WatchedTable)] = [:]
  var changes: [Change] = []
  /// Bytes of the file.
  package internal(set) var length: UInt64 = 0
  /// So much has changed that it is another file for all that can be told.
  package internal(set) var isTooMuch = false

  init() {}

  /// More entries than this are not told one by one.
  private static let mostNotes = 1 << 16
  /// A file that is cut by more is read anew.
  private static let mostCut: UInt64 = 64 << 20

  /// Bytes of pages that taking it over keeps, before and after.
  package var bytesKept: Int { pages.count * Page.size * 2 }

  /// Some table differs, and not the length alone.
  package var touchesTables: Bool { !pages.isEmpty }

  /// The file is as it is shown.
  package func isEmpty(over overlay: OverlayStorage) -> Bool { pages.isEmpty && length == overlay.length }

  /// It is better to open the file again than to take this over.
  package func needsReopening(over overlay: OverlayStorage) -> Bool {
    isTooMuch || length + Self.mostCut < overlay.length
  }

  // MARK: Entries

  /// What one entry was and is.
  struct Entry {
    let index: UInt64
    let before: (UInt64, UInt64)
    let after: (UInt64, UInt64)
  }

  /// An observation on its way into an overlay.
  package struct Record {
    fileprivate(set) var notes: [WriteTag] = []
    /// Some entries are not among the notes, or what changed cannot be followed by them.
    package fileprivate(set) var isDeep = false
  }

  /// Writes the pages into the open operation of the overlay, and notes what differs.
  ///
  /// - Throws: ``StorageError`` if the history has no room, or the host fails.
  package func record(on overlay: OverlayStorage, of image: Image) throws(StorageError) -> Record {
    var record = Record()
    for change in changes { try note(change, overlay, image.geometry, &record) }
    if changes.contains(where: { $0.table.structure == .header }) {
      try noteHeader(overlay, image.geometry, &record)
    }
    if length > overlay.length { try overlay.truncate(to: length, tag: WriteTag(.file, .observed)) }
    for (number, page) in pages.sorted(by: { $0.key < $1.key }) {
      let start = number * UInt64(Page.size)
      guard start < length else { continue }
      let count = min(page.bytes.count, Int(clamping: length - start))
      try overlay.write(
        Array(page.bytes[..<count]), at: start,
        tag: WriteTag(page.table.structure, .observed, table: page.table.bytes.lowerBound))
    }
    if length < overlay.length { try overlay.truncate(to: length, tag: WriteTag(.file, .observed)) }
    for tag in record.notes { overlay.note(tag) }
    return record
  }

  private func note(
    _ change: Change, _ overlay: OverlayStorage, _ geometry: Geometry, _ record: inout Record
  ) throws(StorageError) {
    guard record.notes.count < Self.mostNotes, let new = pages[change.page]?.bytes else {
      record.isDeep = true
      return
    }
    var old = [UInt8](repeating: 0, count: Page.size)
    if !change.table.isNew {
      old = try overlay.bytes(at: change.page * UInt64(Page.size), count: Page.size)
    }
    let entries: [Entry]
    switch change.table.structure {
    case .l1Table, .refcountTable:
      entries = change.words(width: 8, old, new)
      // What the old table or block named goes with it.
      let isMove = entries.contains {
        L1Entry(raw: $0.before.0).table != nil
          && L1Entry(raw: $0.before.0).table != L1Entry(raw: $0.after.0).table
      }
      if isMove { record.isDeep = true }
    case .l2Table: entries = change.words(width: Int(geometry.l2EntrySize), old, new)
    case .refcountBlock: entries = change.counts(order: geometry.refcountOrder, old, new)
    case .header: return
    default:
      record.isDeep = true
      return
    }
    for entry in entries {
      record.notes.append(
        WriteTag(
          change.table.structure, .observed, table: change.table.bytes.lowerBound, index: entry.index,
          before: entry.before, after: entry.after))
    }
  }

  private func noteHeader(
    _ overlay: OverlayStorage, _ geometry: Geometry, _ record: inout Record
  ) throws(StorageError) {
    let old = try overlay.bytes(at: 0, count: Int(geometry.clusterSize))
    var new = old
    for (number, page) in pages where number * UInt64(Page.size) < UInt64(new.count) {
      let at = Int(number) * Page.size
      let count = min(page.bytes.count, new.count - at)
      new.replaceSubrange(at..<at + count, with: page.bytes[..<count])
    }
    for field in HeaderField.changes(from: old, to: new) {
      let isSimple =
        field.field == HeaderField.incompatibleFeatures || field.field == HeaderField.autoclearFeatures
      if !isSimple { record.isDeep = true }
      record.notes.append(
        WriteTag(.header, .observed, index: field.field, before: field.before, after: field.after))
    }
  }
}

extension Observation.Change {
  /// Where the page and its table have bytes in common, in bytes of the page.
  private var common: Range<Int> {
    let start = page * UInt64(Page.size)
    let first = max(table.bytes.lowerBound, start) - start
    let end = min(table.bytes.upperBound, start + UInt64(Page.size)) - start
    return Int(first)..<max(Int(first), Int(end))
  }

  /// Entries of one or two big-endian words that differ.
  func words(width: Int, _ old: [UInt8], _ new: [UInt8]) -> [Observation.Entry] {
    func entry(_ bytes: [UInt8], _ at: Int) -> (UInt64, UInt64) {
      (BigEndian.u64(bytes, at), width > 8 ? BigEndian.u64(bytes, at + 8) : 0)
    }
    let skipped = page * UInt64(Page.size) + UInt64(common.lowerBound) - table.bytes.lowerBound
    var index = table.first + skipped / UInt64(width)
    var found: [Observation.Entry] = []
    var at = common.lowerBound
    while at + width <= common.upperBound {
      let (before, after) = (entry(old, at), entry(new, at))
      if before != after { found.append(Observation.Entry(index: index, before: before, after: after)) }
      at += width
      index += 1
    }
    return found
  }

  /// Refcounts that differ.
  func counts(order: Int, _ old: [UInt8], _ new: [UInt8]) -> [Observation.Entry] {
    let codec = RefcountCodec(order: order)
    let skipped = page * UInt64(Page.size) + UInt64(common.lowerBound) - table.bytes.lowerBound
    let first = table.first + skipped * 8 / (1 << UInt64(order))
    let (before, after) = (Array(old[common]), Array(new[common]))
    var found: [Observation.Entry] = []
    unsafe before.withUnsafeBytes { before in
      unsafe after.withUnsafeBytes { after in
        for index in 0..<(common.count * 8) >> order {
          let was = unsafe codec.value(in: before, at: index)
          let now = unsafe codec.value(in: after, at: index)
          guard was != now else { continue }
          found.append(
            Observation.Entry(index: first + UInt64(index), before: (was, 0), after: (now, 0)))
        }
      }
    }
    return found
  }
}

extension Atlas {
  /// Some cluster that the record is about would have more users than its count says, or lie behind the end of the
  /// file: as while another program is in the middle of its writes. `image` is as it is behind the record.
  package func doubts(_ record: Observation.Record, _ image: Image) -> Bool {
    guard isDone, !image.header.incompatible.contains(.dirty) else { return false }
    var users: [UInt64: Int] = [:]
    func refer(_ descriptor: UInt64, _ change: Int) {
      switch survey.entries.decoder.decoder.reference(of: descriptor) {
      case .none: break
      case .cluster(let cluster): users[cluster, default: 0] += change
      case .compressed(let clusters): for cluster in clusters { users[cluster, default: 0] += change }
      }
    }
    for tag in record.notes {
      switch tag.target {
      case .l2Table:
        refer(tag.before.0, -1)
        refer(tag.after.0, 1)
      case .l1Table:
        for (raw, change) in [(tag.before.0, -1), (tag.after.0, 1)] {
          guard let table = L1Entry(raw: raw).table else { continue }
          users[image.geometry.cluster(of: table).value, default: 0] += change
        }
      case .refcountBlock: users[tag.index, default: 0] += 0
      default: break
      }
    }
    let end = image.geometry.clustersCovering(image.storage.length)
    return users.contains { cluster, change in
      let now = Int(clamping: knownUsers(of: cluster)) + change
      guard now > 0 else { return false }
      let count = (try? image.refcount(of: HostCluster(cluster))) ?? 0
      return cluster >= end || UInt64(now) > count
    }
  }
}
