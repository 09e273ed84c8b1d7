// What was read of a remote disk: tables that are asked for once are not asked for again, within a bound.

import Storage

/// Pages of a disk in memory, of which those that were not used for longest go.
struct RemotePages {
  /// Memory in bytes for each of the two.
  private let most: Int
  private var young: [UInt64: Page] = [:]
  private var youngBytes = 0
  /// Those that were young before.
  private var old: [UInt64: Page] = [:]

  /// A page takes so much besides its bytes.
  private static let overhead = 64

  /// Keeps up to `bytes` of memory.
  init(_ bytes: Int) { most = max(bytes / 2, 16 << 20) }

  subscript(number: UInt64) -> Page? {
    mutating get {
      if let page = young[number] { return page }
      guard let page = old[number] else { return nil }
      add(page, number)
      return page
    }
  }

  func contains(_ number: UInt64) -> Bool { young[number] != nil || old[number] != nil }

  mutating func add(_ page: Page, _ number: UInt64) {
    if youngBytes > most {
      old = young
      (young, youngBytes) = ([:], 0)
    }
    if young.updateValue(page, forKey: number) == nil { youngBytes += page.ownBytes + Self.overhead }
  }
}
