// A place as people write it: an offset of the disk or of the file, an entry of a table, the start or the end.
// The prompt of the explorer and `qatlas where` read it with the same words.

package import QcowFormat
import Storage

/// Where to go, or what to look at.
package enum GotoTarget: Hashable, Sendable {
  case guest(UInt64)
  case host(UInt64)
  case l1(Int)
  case l2(Int, Int)
  case start
  case end

  /// Reads `OFF`, `guest OFF`, `host OFF`, `L1 i`, `L2 i j`, `start` or `end`.
  ///
  /// `command` is who asks, for its errors: ":goto".
  ///
  /// - Throws: ``CommandError`` for words that are no place.
  package init(_ words: [String], for command: String) throws(CommandError) {
    let forms = "; use OFF, guest OFF, host OFF, L1 i, L2 i j, start or end"
    guard let first = words.first else { throw CommandError("\(command) needs a place" + forms) }
    let rest = Array(words.dropFirst())
    func expect(_ count: Int) throws(CommandError) {
      guard rest.count == count else {
        throw CommandError(
          "'\(first)' needs \(count == 0 ? "nothing" : counted(count, "number")) behind it" + forms)
      }
    }
    switch first.lowercased() {
    case "guest":
      try expect(1)
      self = .guest(try Quantity.bytes(rest[0]))
    case "host":
      try expect(1)
      self = .host(try Quantity.bytes(rest[0]))
    case "l1":
      try expect(1)
      self = .l1(try Quantity.index(rest[0]))
    case "l2":
      try expect(2)
      self = .l2(try Quantity.index(rest[0]), try Quantity.index(rest[1]))
    case "start":
      try expect(0)
      self = .start
    case "end":
      try expect(0)
      self = .end
    default:
      guard first.first?.isNumber == true else { throw CommandError("'\(first)' is not a place" + forms) }
      try expect(0)
      self = .guest(try Quantity.bytes(first))
    }
  }

  /// The byte of the disk that is meant; nil for a place of the file.
  ///
  /// - Throws: ``CommandError`` for a place behind the end of the disk or an entry that no table has.
  package func guest(in geometry: Geometry) throws(CommandError) -> GuestOffset? {
    let offset: GuestOffset
    switch self {
    case .host: return nil
    case .guest(let value): offset = GuestOffset(value)
    case .l1(let index): offset = try Self.entry(index, 0, geometry)
    case .l2(let l1, let l2): offset = try Self.entry(l1, l2, geometry)
    case .start: offset = GuestOffset(0)
    case .end: offset = GuestOffset(max(1, geometry.virtualSize) - 1)
    }
    guard offset.value < geometry.virtualSize else {
      throw CommandError(
        "0x\(Notation.hex(offset.value)) is behind the end of the disk at 0x\(Notation.hex(geometry.virtualSize))"
      )
    }
    return offset
  }

  private static func entry(_ l1: Int, _ l2: Int, _ geometry: Geometry) throws(CommandError) -> GuestOffset {
    guard l2 < geometry.l2EntriesPerTable else {
      throw CommandError("an L2 table has entries 0 to \(geometry.l2EntriesPerTable - 1)")
    }
    let entries = geometry.l1Entries(for: geometry.virtualSize)
    guard UInt64(l1) < entries else {
      throw CommandError("the disk has \(counted(entries, "L1 entry", "L1 entries"))")
    }
    return geometry.guestOffset(l1Index: l1, l2Index: l2)
  }
}
