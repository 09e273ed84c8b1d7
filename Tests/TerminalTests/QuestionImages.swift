// The images of the questions, made by the genuine tools when one is asked for, and what is true of them: the
// genuine tools, the host's file system and a reader of the bytes say it, never the program.

import Foundation
import TestSupport

/// An image of the questions; `raw` names its file.
enum QuestionImage: String {
  /// 64M, all clusters and tables allocated, nothing ever written.
  case preallocated
  /// 24M written, 16M in the middle given back, the rest of the file still in use.
  case discarded
  /// The same at the start of something longer, as on a block device.
  case padded
  /// Two snapshots and a disk that went on, with 3M of zeroes written as data.
  case snapshots
  /// 2M in a disk of 128G.
  case sparse
  /// 40 clusters in a disorder.
  case scattered
  /// Every cluster compressed; 1K of the letter A at 512.
  case compressed
  /// One partition from 256K, 2M long.
  case partitioned
  /// Over `middle` over `base`.
  case top
  /// Over a file that is gone.
  case orphan
  /// Version 2, over `base`, 128K of its own.
  case old
  /// One of two L2 tables overwritten with text.
  case text
  /// `scattered` without its first cluster.
  case headless
  /// `scattered` with 20 clusters of data behind it that only the refcounts know.
  case leaking
  /// `scattered` with an entry that points behind the end of the file.
  case past
}

/// A folder with the images that were asked for.
final class QuestionImages {
  static let cluster: UInt64 = 65536
  private static let mask: UInt64 = 0x00ff_ffff_ffff_fe00

  let folder: TemporaryDirectory
  private var made: Set<QuestionImage> = []
  private var copies = 0
  /// Whether the cluster of ``QuestionImage/orphan`` itself answers, by cluster.
  private(set) var orphanAnswers: [Bool] = []

  init() throws {
    folder = try TemporaryDirectory()
    try requireTool("qemu-img")
    try requireTool("qemu-io")
  }

  // MARK: Making

  func path(_ image: QuestionImage) throws -> String {
    if made.insert(image).inserted { try make(image) }
    return folder.path(image.rawValue + ".qcow2")
  }

  private func make(_ image: QuestionImage) throws {
    let name = image.rawValue + ".qcow2"
    switch image {
    case .preallocated: try create(name, "64M", ["-o", "preallocation=metadata"])
    case .discarded:
      try create(name, "64M")
      try io(name, "write -P 1 0 24M", "discard 2M 16M")
    case .padded:
      try FileManager.default.copyItem(atPath: path(.discarded), toPath: folder.path(name))
      try must("truncate", ["-s", "64M", name])
    case .snapshots:
      try create(name, "20M")
      try io(name, "write -P 1 0 10M")
      try must("qemu-img", ["snapshot", "-c", "one", name])
      try io(name, "write -P 2 0 6M")
      try must("qemu-img", ["snapshot", "-c", "two", name])
      try io(name, "write -P 3 2M 8M", "write -P 0 12M 3M")
    case .sparse:
      try create(name, "128G")
      try io(name, "write -P 7 0 1M", "write -P 7 100G 1M")
    case .scattered:
      try create(name, "64M")
      try io(name, (0..<40).map { "write -P 1 \($0 * 17 % 40 * 64)k 64k" })
    case .compressed:
      var random = SplitMix64(seed: 11)
      var disk = [UInt8](repeating: 0, count: 4 << 20)
      for at in stride(from: 0, to: disk.count, by: 4096) {
        for index in 0..<16 { disk[at + index] = UInt8(truncatingIfNeeded: random.next()) }
      }
      for at in 512..<1536 { disk[at] = 0x41 }
      try convert(disk, to: name, ["-c"])
    case .partitioned:
      var disk = [UInt8](repeating: 0x5a, count: 4 << 20)
      disk.replaceSubrange(0..<512, with: repeatElement(0, count: 512))
      // One entry: Linux, from sector 512, 4096 sectors.
      disk.replaceSubrange(446..<462, with: [0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 2, 0, 0, 0, 16, 0, 0])
      disk.replaceSubrange(510..<512, with: [0x55, 0xaa])
      try convert(disk, to: name, [])
    case .top:
      try makeBase()
      try create("middle.qcow2", nil, ["-b", "base.qcow2", "-F", "qcow2", "-o", "cluster_size=32k"])
      try io("middle.qcow2", "write -P 2 512k 1M", "write -P 2 8M 256k")
      try create(name, nil, ["-b", "middle.qcow2", "-F", "qcow2"])
      try io(name, "write -P 3 768k 128k", "write -P 3 16M 192k", "write -P 3 4M 64k")
    case .orphan:
      try create("gone.qcow2", "32M")
      try create(name, nil, ["-b", "gone.qcow2", "-F", "qcow2"])
      try io(name, "write -P 2 512k 1M", "write -P 2 8M 256k")
      orphanAnswers = try clusters(of: name).map { $0 == 0 }
      try FileManager.default.removeItem(atPath: folder.path("gone.qcow2"))
    case .old:
      try makeBase()
      try create(name, nil, ["-b", "base.qcow2", "-F", "qcow2", "-o", "compat=0.10"])
      try io(name, "write -P 9 0 128k")
    case .text:
      try create(name, "1G")
      try io(name, "write -P 1 0 1M", "write -P 2 600M 1M")
      let table = try Int(secondTable())
      try change(name) { bytes in
        let words = Array("the quick brown fox jumps over the lazy dog\n".utf8)
        for index in 0..<65536 { bytes[table + index] = words[index % words.count] }
      }
    case .headless:
      try derive(name) { bytes in
        var random = SplitMix64(seed: 3)
        for index in 0..<65536 { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
      }
    case .leaking:
      try derive(name) { bytes in
        let block = Self.word(bytes, Self.word(bytes, 48))
        let count = bytes.count / 65536
        bytes += repeatElement(UInt8(ascii: "L"), count: 20 * 65536)
        for index in count..<count + 20 { bytes[block + 2 * index + 1] = 1 }
      }
    case .past:
      try derive(name) { bytes in
        let entry = Self.pastEntry(bytes)
        let target = UInt64(bytes.count) + 0x10_0000 | 1 << 63
        for index in 0..<8 { bytes[entry + index] = UInt8(truncatingIfNeeded: target >> (56 - 8 * index)) }
      }
    }
  }

  private func makeBase() throws {
    guard !FileManager.default.fileExists(atPath: folder.path("base.qcow2")) else { return }
    try create("base.qcow2", "32M")
    try io("base.qcow2", "write -P 1 0 1M", "write -P 1 4M 2M")
  }

  private func create(_ name: String, _ size: String?, _ options: [String] = []) throws {
    try must("qemu-img", ["create", "-q", "-f", "qcow2"] + options + [name] + (size.map { [$0] } ?? []))
  }

  private func convert(_ disk: [UInt8], to name: String, _ options: [String]) throws {
    try Data(disk).write(to: URL(fileURLWithPath: folder.path("disk.raw")))
    try must("qemu-img", ["convert", "-f", "raw", "-O", "qcow2"] + options + ["disk.raw", name])
  }

  /// `scattered` with other bytes.
  private func derive(_ name: String, _ body: (inout [UInt8]) -> Void) throws {
    try FileManager.default.copyItem(atPath: path(.scattered), toPath: folder.path(name))
    try change(name, body)
  }

  private func change(_ name: String, _ body: (inout [UInt8]) -> Void) throws {
    let url = URL(fileURLWithPath: folder.path(name))
    var bytes = [UInt8](try Data(contentsOf: url))
    body(&bytes)
    try Data(bytes).write(to: url)
  }

  private static func word(_ bytes: [UInt8], _ at: Int) -> Int {
    Int(bytes[at..<at + 8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) } & mask)
  }

  /// Where the entry of guest cluster 50 lies that ``QuestionImage/past`` has damaged.
  private static func pastEntry(_ bytes: [UInt8]) -> Int { word(bytes, word(bytes, 40)) + 50 * 8 }

  // MARK: Asking others

  /// Runs a tool in the folder, or in one below; it must succeed.
  @discardableResult
  func must(_ tool: String, _ arguments: [String], in place: String? = nil) throws -> String {
    let result = try run(tool, arguments, directory: place ?? folder.path, timeout: 120)
    guard result.status == 0 else {
      throw TestFailure("\(tool) \(arguments): exit \(result.status)\n\(result.stdout)\(result.stderr)")
    }
    return result.stdout
  }

  /// Requests of `qemu-io`, which gives discarded clusters back to the host.
  func io(_ name: String, _ commands: String...) throws { try io(name, commands) }

  private func io(_ name: String, _ commands: [String]) throws {
    let text = try must(
      "qemu-io", ["-d", "unmap", "-f", "qcow2"] + commands.flatMap { ["-c", $0] } + [name])
    guard !text.contains("failed") else { throw TestFailure(text) }
  }

  /// A copy beside the image, to try something out on; layers below stay the same files.
  func copy(_ image: QuestionImage) throws -> String {
    copies += 1
    let target = folder.path("copy\(copies).qcow2")
    // Every block of the copy is stored, so that what a request gives back can be counted.
    try must("cp", ["--sparse=never", path(image), target])
    return target
  }

  func reader(_ image: QuestionImage) throws -> PlainReader { try PlainReader(path(image)) }

  /// What the host keeps of a file, in bytes.
  func blocks(_ path: String) throws -> UInt64 {
    let text = try must("stat", ["-c", "%b %B", path]).split(whereSeparator: \.isWhitespace)
    guard text.count == 2, let count = UInt64(text[0]), let size = UInt64(text[1]) else {
      throw TestFailure("stat says \(text)")
    }
    return count * size
  }

  /// One part of the disk, as `qemu-img map` tells it.
  struct Part {
    let start: UInt64
    let length: UInt64
    let depth: Int
    let isData: Bool
    let offset: UInt64?
  }

  func map(_ name: String) throws -> [Part] {
    let text = try must("qemu-img", ["map", "--output=json", "-f", "qcow2", name])
    let rows = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]] ?? []
    return rows.compactMap { row in
      guard let start = row["start"] as? Int, let length = row["length"] as? Int else { return nil }
      return Part(
        start: UInt64(start), length: UInt64(length), depth: row["depth"] as? Int ?? 0,
        isData: row["data"] as? Bool ?? false, offset: (row["offset"] as? Int).map(UInt64.init))
    }
  }

  /// The layer that has data of each cluster; nil where none has.
  func clusters(of name: String) throws -> [Int?] {
    try map(name).flatMap { part in
      Array(repeating: part.isData ? part.depth : nil, count: Int(part.length / Self.cluster))
    }
  }

  /// Where a place of the disk lies, as `qemu-img map` tells it.
  func host(of guest: UInt64, in name: String) throws -> UInt64 {
    for part in try map(name) where part.start <= guest && guest < part.start + part.length {
      if let offset = part.offset { return offset + guest - part.start }
    }
    throw TestFailure("guest \(guest) of \(name) lies nowhere")
  }

  /// A number of the report of `qemu-img check`, 0 if it is not there.
  func check(_ name: String, _ field: String) throws -> UInt64 {
    let result = try run("qemu-img", ["check", "--output=json", name], directory: folder.path)
    let report = try JSONSerialization.jsonObject(with: Data(result.output)) as? [String: Any]
    guard let report else { throw TestFailure("qemu-img check says \(result.stdout)") }
    return UInt64(report[field] as? Int ?? 0)
  }

  /// Where the L2 table of the second L1 entry of ``QuestionImage/text`` lies.
  func secondTable() throws -> UInt64 {
    let start = try TestSupport.bytes(ofFile: folder.path("text.qcow2"), at: 0, count: 1 << 20)
    return UInt64(Self.word(start, Self.word(start, 40) + 8))
  }

  /// Where the damaged entry of ``QuestionImage/past`` lies.
  func damagedEntry() throws -> UInt64 {
    UInt64(Self.pastEntry(try TestSupport.bytes(ofFile: path(.scattered), at: 0, count: 1 << 20)))
  }

  /// The eight bytes of an entry as 16 digits.
  func entry(_ path: String, at offset: UInt64) throws -> String {
    try TestSupport.bytes(ofFile: path, at: offset, count: 8).map { hex(UInt64($0), digits: 2) }.joined()
  }
}

/// A number in hexadecimal digits, at least so many.
func hex(_ value: UInt64, digits: Int = 1) -> String {
  let text = String(value, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}
