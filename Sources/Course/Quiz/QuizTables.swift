// The tables of an image as a question shows them: what is not 0, in as few rows as can be.

import QcowFormat
import Storage

/// Entries, counts and length of an image.
struct QuizTables: Equatable {
  /// An L2 table.
  struct Table: Equatable {
    /// The snapshot that it belongs to; nil for the disk.
    var snapshot: String?
    var l1Address: UInt64
    var l1Entry: UInt64
    /// First words and bitmaps by guest cluster, but for those that are 0.
    var entries: [UInt64: Entry] = [:]
  }

  struct Entry: Equatable {
    var descriptor: UInt64
    var bitmap: UInt64
  }

  private(set) var tables: [Table] = []
  /// Of every cluster of the file.
  private(set) var counts: [UInt64] = []
  let length: UInt64
  let isExtended: Bool

  init(_ image: ImageBytes) {
    length = image.storage.length
    let geometry = image.geometry
    isExtended = geometry.hasExtendedL2
    let disk = min(geometry.clustersCovering(geometry.virtualSize), 64)
    func table(_ snapshot: String?, _ l1: ImageBytes.L1) -> Table {
      var table = Table(snapshot: snapshot, l1Address: l1.offset, l1Entry: image.l1Entry(0, l1).raw)
      for cluster in 0..<disk {
        let entry = image.entry(GuestCluster(cluster), l1)
        if entry.descriptor != 0 || entry.bitmap.raw != 0 {
          table.entries[cluster] = Entry(descriptor: entry.descriptor, bitmap: entry.bitmap.raw)
        }
      }
      return table
    }
    tables = [table(nil, image.active)]
    for snapshot in image.snapshots {
      tables.append(
        table(
          snapshot.name, ImageBytes.L1(offset: snapshot.l1TableOffset, count: UInt64(snapshot.l1Size))))
    }
    let clusters = min(geometry.clustersCovering(length), 256)
    counts = (0..<clusters).map { image.refcount(HostCluster($0)) }
  }

  /// The entry of the disk for a guest cluster.
  func entry(_ cluster: UInt64) -> Entry { tables[0].entries[cluster] ?? Entry(descriptor: 0, bitmap: 0) }

  /// A guest cluster has a place in the file.
  func hasPlace(_ cluster: UInt64) -> Bool {
    let entry = L2Entry(descriptor: entry(cluster).descriptor)
    return entry.isCompressed || entry.offsetBits != 0
  }

  /// The lowest cluster that nobody has counted.
  var lowestFree: Int { counts.firstIndex(of: 0) ?? counts.count }

  /// The first thing in which another state is not this one: what it has, and what this one has.
  func difference(from other: QuizTables) -> String {
    let clusters = Set(tables[0].entries.keys).union(other.tables[0].entries.keys).sorted()
    if let cluster = clusters.first(where: { entry($0) != other.entry($0) }) {
      return "L2[\(cluster)] is then \(word(other.entry(cluster))), and should be \(word(entry(cluster)))"
    }
    guard tables.map(\.snapshot) == other.tables.map(\.snapshot) else {
      return "there are \(other.tables.count - 1) snapshots then, and should be \(tables.count - 1)"
    }
    for (mine, theirs) in zip(tables, other.tables) where mine != theirs {
      let of = mine.snapshot.map { " of \($0)" } ?? ""
      return
        "L1[0]\(of) is then \(QueryValue.digits(of: theirs.l1Entry)), and should be \(QueryValue.digits(of: mine.l1Entry))"
    }
    for index in 0..<max(counts.count, other.counts.count) {
      let mine = counts.indices.contains(index) ? counts[index] : 0
      let theirs = other.counts.indices.contains(index) ? other.counts[index] : 0
      if mine != theirs { return "the count of cluster \(index) is then \(theirs), and should be \(mine)" }
    }
    return "the file is then \(other.length) bytes long, and should be \(length)"
  }

  private func word(_ entry: Entry) -> String {
    QueryValue.digits(of: entry.descriptor) + (isExtended ? " " + QueryValue.digits(of: entry.bitmap) : "")
  }

  /// Rows of a terminal.
  var lines: [String] {
    var rows: [String] = []
    for (index, table) in tables.enumerated() {
      let of = table.snapshot.map { " of \($0)" } ?? ""
      let head =
        "L1\(of) at \(QuizText.hex(table.l1Address)): [0] \(QueryValue.digits(of: table.l1Entry))"
      if let twin = tables[..<index].first(where: { $0.l1Entry & Self.place == table.l1Entry & Self.place }),
        table.l1Entry != 0
      {
        rows.append(head + "  the L2 table of \(twin.snapshot ?? "the disk")")
        continue
      }
      let cells = table.entries.sorted { $0.key < $1.key }.map { "\(Self.padded($0.key)) \(word($0.value))" }
      rows.append(
        head
          + (table.l1Entry == 0
            ? "  no L2 table"
            : "  L2: "
              + (cells.isEmpty ? "all entries 0" : "what is not 0" + (isExtended ? ", with bitmaps" : ""))))
      rows += QuizText.columns(cells, indent: "  ")
    }
    rows += counted
    return rows
  }

  private static let place: UInt64 = 0x00ff_ffff_ffff_fe00

  private static func padded(_ number: UInt64) -> String { number < 10 ? " \(number)" : "\(number)" }

  private var counted: [String] {
    var rows: [String] = []
    for start in stride(from: 0, to: counts.count, by: 30) {
      let end = min(start + 30, counts.count)
      let head = start == 0 ? "counts of clusters" : "                  "
      rows.append(
        "\(head) \(start)..: " + counts[start..<end].map { "\($0)" }.joined(separator: " "))
    }
    if let last = rows.popLast() {
      let tail = "; file \(length) bytes"
      if last.count + tail.count <= QuizQuestion.columns {
        rows.append(last + tail)
      } else {
        rows += [last, "file \(length) bytes"]
      }
    }
    return rows
  }

  /// Rows that say what is another in a later state.
  func changes(to later: QuizTables) -> [String] {
    var cells: [String] = []
    for snapshot in tables.map(\.snapshot)
      + later.tables.map(\.snapshot).filter({ name in
        !tables.contains { $0.snapshot == name }
      })
    {
      let of = snapshot.map { " of \($0)" } ?? ""
      let old = tables.first { $0.snapshot == snapshot }
      let new = later.tables.first { $0.snapshot == snapshot }
      guard let new else {
        cells.append("the snapshot \(snapshot ?? "") is gone")
        continue
      }
      if old == nil { cells.append("a new snapshot \(snapshot ?? "")") }
      if let old, old.l1Entry != new.l1Entry {
        cells.append("L1[0]\(of): \(QueryValue.digits(of: new.l1Entry))")
      }
      guard let old else { continue }
      for cluster in Set(old.entries.keys).union(new.entries.keys).sorted() {
        let was = old.entries[cluster] ?? Entry(descriptor: 0, bitmap: 0)
        let now = new.entries[cluster] ?? Entry(descriptor: 0, bitmap: 0)
        if was != now { cells.append("L2[\(cluster)]\(of): \(word(now))") }
      }
    }
    var rows = QuizText.columns(cells, indent: "  ")
    var changed: [String] = []
    for index in 0..<max(counts.count, later.counts.count) {
      let was = counts.indices.contains(index) ? counts[index] : 0
      let now = later.counts.indices.contains(index) ? later.counts[index] : 0
      if was != now { changed.append("\(index): \(now)") }
    }
    if !changed.isEmpty {
      rows += QuizText.wrapped("counts  " + changed.joined(separator: "  "), indent: "  ")
    }
    if later.length != length { rows.append("  file \(later.length) bytes") }
    return rows.isEmpty ? ["  nothing"] : rows
  }
}
