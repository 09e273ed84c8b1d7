// One look at a file that another program writes: the bytes of its tables against those that are shown, a slice at a
// time, tables before counts and the length last.

package import Qcow
import QcowFormat
package import Storage

/// Looks at a file again and again.
///
/// Not safe for use from two threads at once. It only reads the file.
package final class FollowedFile {
  /// Bytes that are compared at once.
  private static let piece = 1 << 16
  /// Pages of changes that one look takes; more are as good as another file.
  private static let mostPages = 4096

  /// Tables that are compared at most, new ones included.
  private static let mostTables = 1 << 22

  private let image: Image
  private let overlay: OverlayStorage
  /// The file below the overlay.
  package let seen: SeenStorage
  private let live = CopyBuffer(FollowedFile.piece)
  private let shown = CopyBuffer(FollowedFile.piece)

  private var tables: [WatchedTable] = []
  private var table = 0
  private var page: UInt64 = 0
  private var found = Observation()

  /// `overlay` lies above the file, and the image is open on it.
  package init(_ image: Image, over overlay: OverlayStorage, _ seen: SeenStorage) {
    self.image = image
    self.overlay = overlay
    self.seen = seen
    keepTables()
  }

  /// From now on the pages of the tables that the image names stay as they are read, and all others are those of the
  /// file at any time.
  package func keepTables() {
    let ranges = WatchedTables(image).ranges
    seen.keep(only: ranges)
    overlay.forget(outside: ranges)
  }

  /// How far a look is, 0 ... 1.
  package var progress: Double { tables.isEmpty ? 1 : Double(table) / Double(tables.count) }

  /// Begins a look.
  ///
  /// - Throws: ``StorageError`` if the host cannot tell the length.
  package func begin() throws(StorageError) {
    try seen.file.measureAgain()
    tables = WatchedTables(image).tables
    table = 0
    page = tables.first?.pages.lowerBound ?? 0
    found = Observation()
  }

  /// Compares the next piece.
  ///
  /// - Returns: what the look found, once it is over.
  /// - Throws: ``StorageError`` if the host fails.
  package func step() throws(StorageError) -> Observation? {
    guard table < tables.count, found.pages.count <= Self.mostPages, !found.isTooMuch else {
      try seen.file.measureAgain()
      found.length = seen.file.length
      found.isTooMuch = found.isTooMuch || found.pages.count > Self.mostPages
      return found
    }
    let now = tables[table]
    let end = min(now.pages.upperBound, page + UInt64(Self.piece / Page.size))
    if now.isNew || (page..<end).contains(where: { overlay.layer.pages[$0] != nil || seen.hasSeen($0) }) {
      try compare(page..<end, now)
    }
    page = end
    if page >= now.pages.upperBound {
      table += 1
      if table < tables.count { page = tables[table].pages.lowerBound }
    }
    return nil
  }

  private func compare(_ pages: Range<UInt64>, _ table: WatchedTable) throws(StorageError) {
    // It may have grown since the look began.
    try seen.file.measureAgain()
    let count = pages.count * Page.size
    let start = pages.lowerBound * UInt64(Page.size)
    unsafe try seen.file.read(at: start, into: live.part(0, count))
    unsafe try overlay.read(at: start, into: shown.part(0, count))
    for (number, page) in pages.enumerated() {
      let at = number * Page.size
      let now = unsafe UnsafeRawBufferPointer(live.part(at, at + Page.size))
      let before = unsafe UnsafeRawBufferPointer(shown.part(at, at + Page.size))
      let isSame = unsafe now.isSame(before)
      guard !isSame || table.isNew else { continue }
      if found.pages[page] == nil {
        unsafe found.pages[page] = ([UInt8](now), table)
      }
      found.changes.append(Observation.Change(table: table, page: page))
      if table.structure == .l1Table { try findNewTables(page) }
    }
  }

  /// Tables that the L1 table begins to name are read as well, before any count is.
  private func findNewTables(_ page: UInt64) throws(StorageError) {
    guard let now = found.pages[page]?.bytes else { return }
    let old = try overlay.bytes(at: page * UInt64(Page.size), count: Page.size)
    let change = Observation.Change(table: tables[table], page: page)
    for entry in change.words(width: 8, old, now) {
      let geometry = image.geometry
      let (before, after) = (L1Entry(raw: entry.before.0).table, L1Entry(raw: entry.after.0).table)
      guard let after, after != before, geometry.isAligned(after.value) else { continue }
      guard after.value + geometry.clusterSize <= Geometry.hostOffsetLimit, tables.count < Self.mostTables
      else {
        found.isTooMuch = true
        return
      }
      var new = WatchedTables.l2Table(at: after, l1Index: Int(entry.index), geometry)
      new.isNew = true
      tables.insert(new, at: table + 1)
    }
  }
}
