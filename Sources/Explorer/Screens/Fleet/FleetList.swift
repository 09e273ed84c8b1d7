// The rows of a fleet in their order, those that a filter leaves, and what they add up to. All of it is kept up to date
// as news come, so that a picture costs what it shows, however many rows there are.

import Cartography
import Qcow
import QcowFormat
import Storage

/// Which rows are shown.
enum FleetFilter: Hashable, Sendable {
  case all
  /// What cannot be used as it is.
  case errors
  case leaks, clean, unchecked
  /// Images above another file.
  case layered
  /// Images with snapshots.
  case snapshots
  case text(String)

  /// The words for it, with what they leave.
  static let words: [(word: String, filter: FleetFilter, meaning: String)] = [
    ("all", .all, "all files"), ("errors", .errors, "files that cannot be read, have errors or lack a file"),
    ("leaks", .leaks, "images with leaks"), ("clean", .clean, "images that a check finds nothing in"),
    ("unchecked", .unchecked, "images that were not checked"),
    ("layered", .layered, "images with a backing file"),
    ("snapshots", .snapshots, "images with snapshots"),
  ]

  /// A word of the list, or text that a row has to hold.
  init(_ text: String) { self = Self.words.first { $0.word == text }?.filter ?? .text(text) }

  /// What was asked for.
  var word: String {
    if case .text(let text) = self { return "'\(Escaping.human(text))'" }
    return Self.words.first { $0.filter == self }?.word ?? ""
  }

  /// What is left, as a part of a sentence.
  var meaning: String {
    if case .text(let text) = self { return "files with '\(Escaping.human(text))'" }
    return Self.words.first { $0.filter == self }?.meaning ?? ""
  }

  func holds(_ row: FleetRow) -> Bool {
    switch self {
    case .all: true
    case .errors: row.isBroken
    case .leaks: (row.check?.leaks ?? 0) > 0
    case .clean: row.verdict == .clean
    case .unchecked: row.isImage && row.verdict == .unchecked
    case .layered: row.parent != nil
    case .snapshots: (row.snapshots ?? 0) > 0
    case .text(let text):
      Searching.contains(FleetList.sought(row).lowercased(), Escaping.human(text).lowercased())
    }
  }
}

/// What the rows that are shown add up to; what is not known is counted apart.
struct FleetSums {
  struct Sum: Hashable {
    private(set) var bytes: UInt64 = 0
    /// There is more than a number can say.
    private(set) var isMore = false
    private(set) var unknown = 0

    mutating func add(_ value: UInt64?) {
      guard let value else {
        unknown += 1
        return
      }
      let (sum, overflow) = bytes.addingReportingOverflow(value)
      bytes = overflow ? .max : sum
      isMore = isMore || overflow
    }
  }

  /// The columns that are added up.
  static let columns: [FleetColumn] = [.virtual, .file, .mapped, .reclaimable]
  private(set) var sums = columns.map { _ in Sum() }

  mutating func add(_ row: FleetRow) {
    for (index, column) in Self.columns.enumerated() { sums[index].add(column.number(row)) }
  }

  subscript(column: FleetColumn) -> Sum? { Self.columns.firstIndex(of: column).map { sums[$0] } }
}

/// The rows of a fleet.
struct FleetList {
  /// A row with the bytes of its name, which tell rows apart.
  struct Item {
    fileprivate(set) var row: FleetRow
    let name: [UInt8]
    /// The file has no row any more.
    fileprivate(set) var isGone = false
  }

  /// All of them, in the order in which they came; one that is gone keeps its place.
  private(set) var items: [Item] = []
  private var numbers: [[UInt8]: Int] = [:]
  /// The numbers of those that are shown, in their order.
  private(set) var shown: [Int] = []
  private(set) var column = FleetColumn.name
  private(set) var isReversed = false
  private(set) var filter = FleetFilter.all
  private(set) var sums = FleetSums()
  /// The folder that all names begin with.
  private(set) var folder: [UInt8] = []
  /// How many images have a parent, by its name.
  private var children: [[UInt8]: Int] = [:]
  /// What the items are ordered by.
  private var keys: [FleetKey] = []

  /// How many rows there are.
  var count: Int { numbers.count }
  /// All rows.
  var rows: [FleetRow] { items.filter { !$0.isGone }.map(\.row) }

  /// A row that is shown; nil if there are fewer.
  func row(_ index: Int) -> FleetRow? { shown.indices.contains(index) ? items[shown[index]].row : nil }

  /// The row of a file by its name.
  func row(named path: String) -> FleetRow? { numbers[ByteText.bytes(path)].map { items[$0].row } }

  /// Where an item is shown; nil if it is not.
  func place(of item: Int) -> Int? { shown.firstIndex(of: item) }

  /// How many images of the fleet have the same parent as this one, with itself; nil for one without.
  func sharing(_ row: FleetRow) -> Int? { row.parent.map { children[ByteText.bytes($0)] ?? 0 } }

  /// A name without the folder that all of them begin with.
  func shortName(_ item: Int) -> String {
    let name = items[item].name
    return Escaping.human(ByteText.text(name.count > folder.count ? Array(name[folder.count...]) : name))
  }

  /// What a search looks at.
  static func sought(_ row: FleetRow) -> String {
    var parts = [row.path, row.format ?? "", FleetColumn.verdict(row)] + row.features
    parts += [row.parent, row.backing, row.dataFile, row.chainProblem, row.unchecked, row.error].compactMap {
      $0
    }
    return Escaping.human((parts + row.notes).joined(separator: " "))
  }

  // MARK: News

  mutating func take(_ news: [FleetNews]) {
    guard !news.isEmpty else { return }
    var changed: Set<Int> = []
    var hasFamilies = false
    for piece in news {
      switch piece {
      case .gone(let path):
        guard let number = numbers.removeValue(forKey: ByteText.bytes(path)) else { continue }
        items[number].isGone = true
        hasFamilies = count(items[number].row, -1) || hasFamilies
        changed.insert(number)
      case .row(let row):
        let name = ByteText.bytes(row.path)
        let number: Int
        if let known = numbers[name] {
          number = known
          hasFamilies = count(items[number].row, -1) || hasFamilies
          items[number].row = row
        } else {
          number = items.count
          numbers[name] = number
          shorten(to: name)
          items.append(Item(row: row, name: name))
          keys.append(.unknown)
        }
        hasFamilies = count(row, 1) || hasFamilies
        changed.insert(number)
      }
    }
    // A number that others are ordered by as well.
    if column == .sharing, hasFamilies { return arrange() }
    for number in changed { keys[number] = key(number) }
    shown.removeAll { changed.contains($0) }
    merge(changed.filter { isShown($0) })
  }

  /// Counts the children of parents; true if the row has one.
  private mutating func count(_ row: FleetRow, _ step: Int) -> Bool {
    guard let parent = row.parent else { return false }
    children[ByteText.bytes(parent), default: 0] += step
    return true
  }

  /// A name more, which may be in another folder.
  private mutating func shorten(to name: [UInt8]) {
    let slash = UInt8(ascii: "/")
    let own = name.lastIndex(of: slash).map { name[...$0] } ?? []
    guard !items.isEmpty else {
      folder = Array(own)
      return
    }
    guard !folder.isEmpty, !own.starts(with: folder) else { return }
    let common = zip(folder, own).prefix { $0 == $1 }.count
    folder = folder[..<common].lastIndex(of: slash).map { Array(folder[...$0]) } ?? []
  }

  /// Puts some items between those that are shown.
  private mutating func merge(_ new: some Sequence<Int>) {
    let new = new.sorted { precedes($0, $1) }
    guard !new.isEmpty else { return addUp() }
    var merged: [Int] = []
    merged.reserveCapacity(shown.count + new.count)
    var at = 0
    for number in new {
      // A few new ones are not compared with all of the others.
      var (low, high) = (at, shown.count)
      while low < high {
        let middle = (low + high) / 2
        if precedes(shown[middle], number) { low = middle + 1 } else { high = middle }
      }
      merged += shown[at..<low]
      merged.append(number)
      at = low
    }
    shown = merged + shown[at...]
    addUp()
  }

  // MARK: Order and choice

  /// Orders the rows by a column.
  mutating func order(by column: FleetColumn, reversed: Bool) {
    self.column = column
    isReversed = reversed
    arrange()
  }

  /// Shows other rows.
  mutating func show(_ filter: FleetFilter) {
    self.filter = filter
    shown = []
    merge(items.indices.filter { isShown($0) })
  }

  private mutating func arrange() {
    keys = items.indices.map { key($0) }
    shown = []
    merge(items.indices.filter { isShown($0) })
  }

  private func isShown(_ number: Int) -> Bool { !items[number].isGone && filter.holds(items[number].row) }

  private mutating func addUp() {
    sums = FleetSums()
    for number in shown { sums.add(items[number].row) }
  }

  private func key(_ number: Int) -> FleetKey {
    column.key(items[number], sharing: sharing(items[number].row))
  }

  /// Rows with the same key are in the order of their names.
  private func precedes(_ one: Int, _ other: Int) -> Bool {
    // Of numbers the largest is first.
    let isDescending = column.isText == isReversed
    switch (keys[one], keys[other]) {
    case (.number(let left), .number(let right)):
      if left != right { return (left > right) == isDescending }
    case (.text(let left), .text(let right)):
      if left != right { return left.lexicographicallyPrecedes(right) != isDescending }
    case (.unknown, .unknown): break
    case (.unknown, _): return false
    case (_, .unknown): return true
    // Keys of a column are of one kind.
    case (.number, .text): return true
    case (.text, .number): return false
    }
    return items[one].name.lexicographicallyPrecedes(items[other].name)
  }
}
