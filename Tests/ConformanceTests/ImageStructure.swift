// The tables of an image file, read by a second, independent reader in the form of the vectors, so
// that a difference can be told in words: which table, which cluster, which entry.

import Foundation
import TestSupport

/// Header, tables and the use of every host cluster, as the checkpoints list them.
struct ImageStructure {
  private(set) var fields: [(name: String, value: String)] = []
  private let file: FileHandle
  private var uses: [UInt64: [String]] = [:]
  private let clusterSize: UInt64
  private var hasDataFile = false

  init(path: String) throws {
    let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    self.file = file
    defer { try? file.close() }
    let header = try Self.read(file, 0, 112)
    let bits = Self.word(header, 20, 4)
    clusterSize = 1 << bits
    let version = Self.word(header, 4, 4)
    let extended = version >= 3 && Self.word(header, 72, 8) & 16 != 0
    let order = version >= 3 ? Self.word(header, 96, 4) : 4
    let l1Offset = Self.word(header, 40, 8)
    let l1Size = Self.word(header, 36, 4)
    let tableOffset = Self.word(header, 48, 8)
    let tableClusters = Self.word(header, 56, 4)
    let length = try file.seekToEnd()
    fields.append(("file_length", String(length)))
    fields.append(("l1", "[\(l1Offset), \(l1Size)]"))
    fields.append(("refcount_table", "[\(tableOffset), \(tableClusters)]"))
    use(0, clusterSize, "header")
    use(tableOffset, tableClusters * clusterSize, "refcount table")
    use(l1Offset, l1Size * 8, "L1")
    hasDataFile = version >= 3 && Self.word(header, 72, 8) & 4 != 0
    let snapshots = try snapshotTables(Self.word(header, 64, 8), Self.word(header, 60, 4))

    var counts: [UInt64: UInt64] = [:]
    let perBlock = (clusterSize * 8) >> order
    for (t, block) in try words(tableOffset, tableClusters * clusterSize / 8).enumerated() where block != 0 {
      use(block, clusterSize, "refcount block \(t)")
      let bytes = try Self.read(file, block, Int(clusterSize))
      for i in 0..<perBlock {
        let count = Self.refcount(bytes, i, order)
        if count != 0 { counts[UInt64(t) * perBlock + i] = count }
      }
    }
    try readGuestTables(l1Offset, l1Size, extended, bits)
    for table in snapshots {
      use(table.offset, table.size * 8, "snapshot \(table.id): L1")
      try readGuestTables(table.offset, table.size, extended, bits, prefix: "snapshot \(table.id): ")
    }
    fields.append(contentsOf: hostRuns(counts, length))
  }

  /// The L1 tables of the snapshots.
  private mutating func snapshotTables(
    _ start: UInt64, _ count: UInt64
  ) throws -> [(id: String, offset: UInt64, size: UInt64)] {
    var tables: [(String, UInt64, UInt64)] = []
    var offset = start
    for _ in 0..<count {
      let fixed = try Self.read(file, offset, 40)
      let id = try Self.read(file, offset + 40 + Self.word(fixed, 36, 4), Int(Self.word(fixed, 12, 2)))
      tables.append((String(decoding: id, as: UTF8.self), Self.word(fixed, 0, 8), Self.word(fixed, 8, 4)))
      let length = 40 + Self.word(fixed, 36, 4) + Self.word(fixed, 12, 2) + Self.word(fixed, 14, 2)
      offset += (length + 7) & ~7
    }
    use(start, offset - start, "snapshot table")
    return tables
  }

  private mutating func readGuestTables(
    _ l1Offset: UInt64, _ l1Size: UInt64, _ extended: Bool, _ bits: UInt64, prefix: String = ""
  ) throws {
    let perTable = clusterSize / (extended ? 16 : 8)
    for (i, l1) in try words(l1Offset, l1Size).enumerated() where l1 & 0x00ff_ffff_ffff_fe00 != 0 {
      let table = l1 & 0x00ff_ffff_ffff_fe00
      use(table, clusterSize, "\(prefix)L2[\(i)]")
      let entries = try words(table, clusterSize / 8)
      for j in 0..<Int(perTable) {
        let entry = extended ? entries[2 * j] : entries[j]
        let bitmap = extended ? entries[2 * j + 1] : 0
        guard entry != 0 || bitmap != 0 else { continue }
        let index = "l2[\(i)][\(j)]"
        if prefix.isEmpty {
          fields.append((index, Self.hex(entry) + (extended ? " " + Self.hex(bitmap) : "")))
        }
        if hasDataFile { continue }
        let guest = UInt64(i) * perTable + UInt64(j)
        let host = entry & 0x00ff_ffff_ffff_fe00
        if entry & 1 << 62 != 0 {
          let x = 62 - (bits - 8)
          let start = entry & (1 << x - 1)
          let sectors = entry >> x & (1 << (bits - 8) - 1) + 1
          use(start, sectors * 512 - start % 512, "\(prefix)data[\(guest)] compressed")
        } else if host != 0 {
          use(host, clusterSize, "\(prefix)data[\(guest)]" + (!extended && entry & 1 != 0 ? " zero" : ""))
        }
      }
    }
  }

  private mutating func use(_ offset: UInt64, _ bytes: UInt64, _ name: String) {
    guard bytes > 0 else { return }
    for cluster in (offset / clusterSize)...((offset + bytes - 1) / clusterSize) {
      uses[cluster, default: []].append(name)
    }
  }

  /// One line for each host cluster; free ones inside the file are named as such.
  private func hostRuns(_ counts: [UInt64: UInt64], _ length: UInt64) -> [(name: String, value: String)] {
    let clusters = Set(counts.keys).union(uses.keys).union(0..<((length + clusterSize - 1) / clusterSize))
    return clusters.sorted().map { cluster in
      let count = counts[cluster] ?? 0
      let use = uses[cluster]?.joined(separator: " + ") ?? (count == 0 ? "free" : "leaked")
      return ("host cluster \(cluster)", "refcount \(count), \(use)")
    }
  }

  /// The same list from a checkpoint of a vector.
  static func expected(_ checkpoint: Json) throws -> [(name: String, value: String)] {
    var fields: [(String, String)] = []
    fields.append(("file_length", String(try checkpoint["file_length"].number("file_length"))))
    for name in ["l1", "refcount_table"] {
      let pair = checkpoint[name]
      fields.append((name, "[\(try pair[0].number(name)), \(try pair[1].number(name))]"))
    }
    let header = try checkpoint["refcount_table"][0].number("refcount_table")
    // The smallest distance between tables tells nothing; runs of L2 entries grow by the cluster
    // size, which is where the refcount table of every new image lies, unless it has moved.
    let clusterSize =
      try checkpoint["cluster_size"] == .null ? header : checkpoint["cluster_size"].number("cs")
    for run in checkpoint["l2"].items {
      let l1 = try run[0].number("L1 index")
      let first = try run[1].number("L2 index")
      guard let entry = UInt64(try run[3].string("entry").dropFirst(2), radix: 16) else { continue }
      let grows = entry & 0x00ff_ffff_ffff_fe00 != 0 && entry & 1 << 62 == 0
      for i in 0..<(try run[2].number("count")) {
        let value = grows ? entry + i * clusterSize : entry
        var text = hex(value)
        if case .string(let bitmap) = run[4], let raw = UInt64(bitmap.dropFirst(2), radix: 16) {
          text += " " + hex(raw)
        }
        fields.append(("l2[\(l1)][\(first + i)]", text))
      }
    }
    for run in checkpoint["hosts"].items {
      let first = try run[0].number("cluster")
      let count = try run[2].number("refcount")
      let use = try run[3].string("use")
      for i in 0..<(try run[1].number("count")) {
        fields.append(("host cluster \(first + i)", "refcount \(count), \(single(use, i))"))
      }
    }
    return fields
  }

  /// The name of cluster `index` of a run: data[3..5] becomes data[3], data[4], data[5].
  private static func single(_ use: String, _ index: UInt64) -> String {
    use.components(separatedBy: " + ").map { part in
      guard let open = part.firstIndex(of: "["), let dots = part.range(of: ".."),
        let first = UInt64(part[part.index(after: open)..<dots.lowerBound]),
        let close = part.firstIndex(of: "]")
      else { return part }
      return String(part[...open]) + String(first + index) + String(part[close...])
    }.joined(separator: " + ")
  }

  /// What differs, in words; empty if nothing does.
  static func difference(_ expected: [(name: String, value: String)], _ path: String) throws -> String {
    let actual = try ImageStructure(path: path).fields
    let wanted = Dictionary(expected.map { ($0.name, $0.value) }, uniquingKeysWith: { a, _ in a })
    let found = Dictionary(actual.map { ($0.name, $0.value) }, uniquingKeysWith: { a, _ in a })
    var lines: [String] = []
    for (name, value) in expected where found[name] != value {
      lines.append("\(name): expected \(value), found \(found[name] ?? "nothing")")
    }
    for (name, value) in actual where wanted[name] == nil {
      lines.append("\(name): expected nothing, found \(value)")
    }
    return lines.prefix(20).joined(separator: "\n")
  }

  /// What differs between two image files.
  static func difference(file expected: String, _ actual: String) throws -> String {
    try difference(ImageStructure(path: expected).fields, actual)
  }

  // MARK: Bytes

  private static func read(_ file: FileHandle, _ offset: UInt64, _ count: Int) throws -> [UInt8] {
    try file.seek(toOffset: offset)
    var bytes = try [UInt8](file.read(upToCount: count) ?? Data())
    bytes.append(contentsOf: repeatElement(0, count: count - bytes.count))
    return bytes
  }

  private func words(_ offset: UInt64, _ count: UInt64) throws -> [UInt64] {
    guard count > 0 else { return [] }
    let bytes = try Self.read(file, offset, Int(count) * 8)
    return bytes.withUnsafeBytes { raw in
      (0..<Int(count)).map { UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self)) }
    }
  }

  private static func word(_ bytes: [UInt8], _ at: Int, _ width: Int) -> UInt64 {
    bytes[at..<(at + width)].reduce(0) { $0 << 8 | UInt64($1) }
  }

  private static func refcount(_ bytes: [UInt8], _ index: UInt64, _ order: UInt64) -> UInt64 {
    if order >= 3 {
      let width = 1 << Int(order - 3)
      return word(bytes, Int(index) * width, width)
    }
    let bits = 1 << order
    let perByte = 8 / UInt64(bits)
    return UInt64(bytes[Int(index / perByte)]) >> (UInt64(bits) * (index % perByte)) & (1 << UInt64(bits) - 1)
  }

  private static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
}
