// The partition table of the guest, MBR or GPT. The bytes are the guest's: nothing in them is trusted, and what does
// not add up gives no labels at all.

package import Qcow
import QcowFormat

/// Reads the partitions of a disk.
package struct PartitionTable {
  /// Logical partitions that are followed, and entries of a GPT that are read.
  private static let longestChain = 64
  private static let maximumEntries = 256

  private let size: UInt64
  private let read: (UInt64, Int) -> [UInt8]?

  /// The partitions of the disk that the guest sees; empty if there is no table or it cannot be read. Reads some
  /// sectors.
  package static func labels(_ image: Image) -> [GuestLabel] {
    guard image.isUnlocked else { return [] }
    return labels(size: image.virtualSize) { offset, count in
      var bytes = [UInt8](repeating: 0, count: count)
      let read: Void? = try? unsafe bytes.withUnsafeMutableBytes {
        unsafe try image.read(at: GuestOffset(offset), into: $0)
      }
      guard read != nil else { return nil }
      return bytes
    }
  }

  /// The same of a disk of `size` bytes of which `read` gives some, or nil if it cannot.
  package static func labels(size: UInt64, read: @escaping (UInt64, Int) -> [UInt8]?) -> [GuestLabel] {
    PartitionTable(size: size, read: read).labels
  }

  private func bytes(_ offset: UInt64, _ count: Int) -> [UInt8]? {
    guard count > 0, offset <= size, UInt64(count) <= size - offset, let bytes = read(offset, count),
      bytes.count == count
    else { return nil }
    return bytes
  }

  private var labels: [GuestLabel] {
    for sector: UInt64 in [512, 4096] {
      if let found = guidTable(sector) { return found }
    }
    return masterTable
  }

  // MARK: GPT

  private func guidTable(_ sector: UInt64) -> [GuestLabel]? {
    guard let header = bytes(sector, 512), header.prefix(8).elementsEqual("EFI PART".utf8) else { return nil }
    let length = Int(little(header, 12, 4))
    guard (92...512).contains(length), little(header, 24, 8) == 1 else { return nil }
    var summed = Array(header[..<length])
    for index in 16..<20 { summed[index] = 0 }
    guard Self.checksum(summed) == little(header, 16, 4) else { return nil }
    let (count, width) = (Int(little(header, 80, 4)), Int(little(header, 84, 4)))
    guard (1...Self.maximumEntries).contains(count), (128...4096).contains(width), width % 128 == 0 else {
      return nil
    }
    let (start, overflow) = little(header, 72, 8).multipliedReportingOverflow(by: sector)
    guard !overflow, let entries = bytes(start, count * width),
      Self.checksum(entries) == little(header, 88, 4)
    else { return nil }
    var found: [GuestLabel] = []
    for number in 0..<count {
      let entry = Array(entries[number * width..<(number + 1) * width])
      guard entry.prefix(16).contains(where: { $0 != 0 }) else { continue }
      let (first, last) = (little(entry, 32, 8), little(entry, 40, 8))
      guard first > 0, first <= last, last < size / sector else { continue }
      let units = (0..<36).map { UInt16(little(entry, 56 + 2 * $0, 2)) }
      let name = String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
      found.append(
        GuestLabel(
          first * sector..<(last + 1) * sector, "partition \(number + 1)" + (name.isEmpty ? "" : " '\(name)'")
        ))
    }
    return found
  }

  /// CRC-32 as in a GPT.
  private static func checksum(_ bytes: [UInt8]) -> UInt64 {
    var crc: UInt32 = .max
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
    return UInt64(~crc)
  }

  // MARK: MBR

  private static let extended: Set<UInt8> = [0x05, 0x0f, 0x85]

  /// One entry in use, in sectors.
  private struct Entry {
    var type: UInt8
    var start: UInt64
    var count: UInt64
    var isExtended: Bool { PartitionTable.extended.contains(type) }
  }

  /// The four entries of a sector; nil if it is no partition table.
  private func entries(_ sector: [UInt8]) -> [Entry?]? {
    guard sector[510] == 0x55, sector[511] == 0xaa else { return nil }
    var found: [Entry?] = []
    for index in 0..<4 {
      let at = 446 + 16 * index
      // A boot sector of a file system ends like one, and has code or text here.
      guard sector[at] & 0x7f == 0 else { return nil }
      let entry = Entry(
        type: sector[at + 4], start: little(sector, at + 8, 4), count: little(sector, at + 12, 4))
      found.append(entry.type == 0 || entry.count == 0 ? nil : entry)
    }
    return found
  }

  private var masterTable: [GuestLabel] {
    guard let first = bytes(0, 512), let list = entries(first), list.contains(where: { $0 != nil }) else {
      return []
    }
    // The one partition of a disk with a GPT, which could not be read.
    guard !list.contains(where: { $0?.type == 0xee }) else { return [] }
    let all = size / 512
    guard list.allSatisfy({ $0.map { $0.start > 0 && $0.start < all } ?? true }) else { return [] }
    var found: [GuestLabel] = []
    for (number, entry) in list.enumerated() {
      guard let entry else { continue }
      let end = min(all, entry.start + entry.count)
      found.append(GuestLabel(entry.start * 512..<end * 512, "partition \(number + 1)"))
      if entry.isExtended { found += logical(entry.start..<end) }
    }
    return found
  }

  /// The partitions of an extended one: each names the next, which must come behind it.
  private func logical(_ whole: Range<UInt64>) -> [GuestLabel] {
    var found: [GuestLabel] = []
    var at = whole.lowerBound
    for number in 0..<Self.longestChain {
      guard let sector = bytes(at * 512, 512), let list = entries(sector) else { return found }
      if let entry = list[0], !entry.isExtended {
        let (start, end) = (at + entry.start, min(whole.upperBound, at + entry.start + entry.count))
        if start > at, start < end {
          found.append(GuestLabel(start * 512..<end * 512, "partition \(number + 5)"))
        }
      }
      guard let next = list[1], next.isExtended else { return found }
      let place = whole.lowerBound + next.start
      guard place > at, place < whole.upperBound else { return found }
      at = place
    }
    return found
  }

  private func little(_ bytes: [UInt8], _ at: Int, _ width: Int) -> UInt64 {
    guard at + width <= bytes.count else { return 0 }
    return bytes[at..<at + width].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
