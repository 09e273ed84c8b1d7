// The first screen of images of every kind against a reader of its own: title, both maps, the legend and
// "Where is it?" must say what the bytes of the file say.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

/// An image of one kind, made by the genuine tools and, where they cannot, by changing bytes.
struct ScreenKindOfImage: CustomTestStringConvertible, Sendable {
  var name: String
  var options: String = ""
  var size = "16M"
  var commands: [String] = ["write 0 192k", "write 1M 64k"]
  /// Runs after the commands.
  var after: @Sendable (ImageFolder) throws -> Void = { _ in }
  /// Where a layer below ends, in bytes.
  var belowEnd: UInt64 = 0
  /// Places to ask for.
  var places: [UInt64] = [0, 65536, 1 << 20]
  var title: [String] = []
  var testDescription: String { name }

  static let all: [ScreenKindOfImage] = [
    .init(name: "plain"),
    .init(name: "version 2", options: "compat=0.10", title: ["v2"]),
    .init(
      name: "extended L2", options: "extended_l2=on",
      commands: [
        "write 0 4k", "write 64k 64k",
        "write -z 128k 8k", "write 1M 100k", "discard 1M 64k",
      ]),
    .init(
      name: "512-byte clusters", options: "cluster_size=512", size: "1M",
      commands: ["write 0 300k", "write 600k 9k"], places: [0, 307_200 - 512, 614_400]),
    .init(
      name: "two-megabyte clusters", options: "cluster_size=2M", size: "64M",
      commands: ["write 0 1M", "write 20M 4M"], places: [0, 20 << 20, 30 << 20]),
    .init(name: "compressed", commands: ["write -c -P 1 0 64k", "write -c -P 2 64k 64k", "write 1M 64k"]),
    .init(
      name: "zeroes", commands: ["write 0 128k", "write -z 0 64k", "write -z 1M 64k", "write -zu 64k 64k"]),
    .init(name: "preallocated", options: "preallocation=metadata", commands: ["write 0 64k"]),
    .init(
      name: "nearly empty", size: "1T", commands: ["write 0 64k", "write 700G 64k"],
      places: [0, 65536, 700 << 30]),
    .init(name: "nearly full", size: "4M", commands: ["write 0 4032k"]),
    .init(
      name: "mostly free", size: "32M", commands: ["write 0 32M"],
      after: { folder in
        var discards: [String] = []
        for index in 0..<32 { discards += ["-c", "discard \(index)M 832k"] }
        try folder.io(discards)
      }, places: [0, 832 << 10]),
    .init(
      name: "snapshots",
      after: { folder in
        try folder.image(["snapshot", "-c", "one", folder.path])
        try folder.io(["-c", "write 64k 64k", "-c", "write 2M 64k"])
      }, places: [0, 65536, 2 << 20]),
    .init(
      name: "VM state", commands: ["write 0 64k", "write -b -P 5 0 200k"],
      after: { folder in try folder.image(["snapshot", "-c", "vm", folder.path]) }),
    .init(name: "VM state left over", commands: ["write 0 64k", "write -b -P 5 0 200k"]),
    .init(
      name: "bitmaps",
      after: { folder in
        try folder.image(["bitmap", "--add", "-g", "64k", folder.path, "b"])
        try folder.io(["-c", "write 1M 128k"])
      }),
    .init(name: "lazy refcounts", options: "lazy_refcounts=on"),
    .init(
      name: "dirty", options: "lazy_refcounts=on",
      after: { folder in
        try folder.change { image in
          image.bytes[79] |= 1
          for index in 0..<3 { image.setRefcount(image.entry(index), 0) }
        }
      }, title: ["DIRTY"]),
    .init(
      name: "no refcounts", options: "lazy_refcounts=on",
      after: { folder in try folder.change { $0.put(0, $0.refcountTable) } }),
    .init(name: "corrupt", after: { folder in try folder.change { $0.bytes[79] |= 2 } }, title: ["CORRUPT"]),
    .init(
      name: "cut short",
      after: { folder in try folder.change { $0.bytes.removeLast(160 << 10) } }),
    .init(
      name: "lost L2 table", commands: ["write 0 128k", "write 600M 64k"],
      after: { folder in try folder.change { $0.put(0, $0.l1) } }),
    .init(
      name: "lost refcounts of data",
      after: { folder in try folder.change { for index in 0..<2 { $0.setRefcount($0.entry(index), 0) } } }),
    .init(
      name: "COPIED never set",
      after: { folder in
        try folder.change { image in
          for index in 0..<32 { image.bytes[image.l2 + index * 8] &= 0x7f }
          image.bytes[image.l1] &= 0x7f
        }
      }),
    .init(
      name: "two guests, one cluster",
      after: { folder in
        try folder.change { image in
          image.put(image.word(image.l2), image.l2 + 8)
          image.put(UInt64(image.l2) | 1 << 63, image.l2 + 16)
          image.put(UInt64(image.refcountTable) | 1 << 63, image.l2 + 24)
          image.put(0x700_0000 | 1 << 63, image.l2 + 32)
        }
      }, places: [0, 65536, 131_072, 196_608, 262_144, 1 << 20]),
    .init(name: "overlay", after: { folder in try folder.putBelow("16M") }, belowEnd: 16 << 20),
    .init(
      name: "overlay longer than its backing file", after: { folder in try folder.putBelow("4M") },
      belowEnd: 4 << 20, places: [0, 3 << 20, 8 << 20]),
    .init(
      name: "encrypted",
      options: "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", commands: [],
      title: ["LUKS, locked"]),
    .init(
      name: "external data file", options: "data_file=d.raw",
      commands: ["write 0 192k", "write 1M 64k", "discard 64k 64k", "write -z 2M 64k"],
      places: [0, 65536, 1 << 20, 2 << 20, 3 << 20], title: ["data in d.raw"]),
    .init(
      name: "raw external data file, extended L2",
      options: "data_file=d.raw,data_file_raw=on,extended_l2=on",
      commands: ["write 0 10k", "write 1M 64k", "discard 1M 64k"], title: ["data in d.raw"]),
  ]
}

/// The folder of an image, and what can be done to it.
final class ImageFolder {
  let folder: TemporaryDirectory
  var path: String { folder.path("a.qcow2") }

  init(_ kind: ScreenKindOfImage) throws {
    folder = try TemporaryDirectory()
    let secret = kind.options.contains("encrypt") ? ["--object", "secret,id=s,data=word"] : []
    // The name of a data file is looked for from where the program runs.
    let words = kind.options.replacingOccurrences(
      of: "data_file=d.raw", with: "data_file=" + folder.path("d.raw"))
    let options = words.isEmpty ? [] : ["-o", words]
    let size = kind.name == "lost L2 table" ? "1G" : kind.size
    if secret.isEmpty {
      try image(["create", "-q", "-f", "qcow2"] + options + [path, size])
    } else {
      try GenuineEncryption.make(path, secret, kind.options, size: size)
    }
    if !kind.commands.isEmpty { try io(kind.commands.flatMap { ["-c", $0] }) }
    try kind.after(self)
  }

  func image(_ arguments: [String]) throws { try must("qemu-img", arguments) }
  func io(_ commands: [String]) throws { try must("qemu-io", ["-f", "qcow2"] + commands + [path]) }

  private func must(_ tool: String, _ arguments: [String]) throws {
    let result = try run(tool, arguments, directory: folder.path, timeout: 60)
    guard result.status == 0 else { throw TestFailure("\(tool) \(arguments): \(result.stderr)") }
  }

  /// Names a raw file of that size as the backing file.
  func putBelow(_ size: String) throws {
    try image(["create", "-q", "-f", "raw", folder.path("base.raw"), size])
    try image(["rebase", "-u", "-F", "raw", "-b", "base.raw", path])
  }

  /// Changes bytes of the image.
  func change(_ body: (inout RawImage) -> Void) throws {
    var image = RawImage(bytes: [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
    body(&image)
    try Data(image.bytes).write(to: URL(fileURLWithPath: path))
  }
}

/// The bytes of an image with clusters of 64 KiB and refcounts of 16 bits.
struct RawImage {
  var bytes: [UInt8]
  private let mask: UInt64 = 0x00ff_ffff_ffff_fe00

  func word(_ at: Int) -> UInt64 { bytes[at..<at + 8].reduce(0) { $0 << 8 | UInt64($1) } }
  mutating func put(_ value: UInt64, _ at: Int) {
    for index in 0..<8 { bytes[at + index] = UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * index)) }
  }
  var l1: Int { Int(word(40)) }
  var l2: Int { Int(word(l1) & mask) }
  var refcountTable: Int { Int(word(48)) }
  /// The host cluster of an entry of the first L2 table.
  func entry(_ index: Int) -> Int { Int((word(l2 + index * 8) & mask) >> 16) }
  mutating func setRefcount(_ cluster: Int, _ value: UInt8) {
    bytes[Int(word(refcountTable) & mask) + cluster * 2 + 1] = value
  }
}

@Suite(.tags(.genuine)) struct TrueScreenTests {
  private func explorer(_ path: String) throws -> Explorer {
    let opener = ChainOpener(path, ChainPolicy())
    let file = try opener.openFile(writable: false)
    let files = MemoryFiles(image: file)
    let session = try Session(file, title: "a.qcow2", mode: .readOnly, files: files, layers: opener)
    let explorer = Explorer(session, files: files, width: 160, height: 50, glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  /// The parts of the file add up to its length, what is a part of something is no larger, and the sizes that two
  /// reports have are the same.
  @Test("sizes add up", arguments: ScreenKindOfImage.all)
  func sizes(_ kind: ScreenKindOfImage) throws {
    let folder = try ImageFolder(kind)
    // The last cluster of a file need not be a whole one.
    for cut in [false, true] {
      if cut {
        try folder.change { image in
          let bytes = image.bytes.count
          guard bytes % 4096 == 0, !kind.name.contains("512-byte") else { return }
          image.bytes.removeLast(1000)
        }
      }
      let explorer = try explorer(folder.path)
      let atlas = explorer.session.scene.atlas
      guard atlas.isDone, !atlas.isPartial else { continue }
      let ladder = SizeLadder(atlas, blocks: nil)
      let length = try #require(ladder[.length])
      #expect(length.bytes == explorer.session.overlay.length)
      #expect(
        ladder.parts.reduce(0) { $0 + $1.bytes } == length.bytes,
        "\(kind.name), \(cut): \(ladder.rungs.map { ($0.kind.rawValue, $0.bytes) })")
      for rung in ladder.rungs {
        guard let parent = rung.kind.parent else { continue }
        #expect(rung.bytes <= ladder[parent]?.bytes ?? 0, "\(kind.name): \(rung)")
      }
      let scan = SpaceScan(atlas, readsData: false, blocks: nil)
      Scheduler.finish(scan)
      for part in scan.result.parts {
        guard let rung = ladder.rungs.first(where: { $0.kind.rawValue == part.kind.name }) else { continue }
        #expect(part.bytes == rung.bytes, "\(kind.name), \(cut): \(part.kind.name)")
        #expect(part.stored ?? 0 <= part.bytes)
      }
    }
  }

  /// The inner lines of the pane whose frame begins with `title`, without its sides.
  private func pane(_ lines: [[Character]], _ title: String) throws -> (lines: [[Character]], footer: String)
  {
    let wanted = Array(title)
    for (y, line) in lines.enumerated() where line.count > wanted.count {
      for x in 1..<line.count - wanted.count where Array(line[x..<x + wanted.count]) == wanted {
        let left = x - 3
        var right = x
        while right < line.count, line[right] != "+" { right += 1 }
        var inner: [[Character]] = []
        var row = y + 1
        while row < lines.count, lines[row].count > left, lines[row][left] == "|" {
          inner.append(Array(lines[row][(left + 1)..<min(right, lines[row].count)]))
          row += 1
        }
        return (inner, row < lines.count ? String(lines[row][left..<min(right, lines[row].count)]) : "")
      }
    }
    throw TestFailure("there is no pane '\(title)'")
  }

  /// Bytes of a cell, from "1 cell = 64 KiB" or "1 cell = 64K"; nil without.
  private func cellSize(_ footer: String) -> UInt64? {
    guard let range = footer.range(of: "1 cell = ") else { return nil }
    let words = footer[range.upperBound...].split(separator: " ").map(String.init)
    guard let first = words.first, let number = UInt64(first.prefix { $0.isNumber }) else { return nil }
    let unit = first.drop { $0.isNumber }.first { $0.isLetter } ?? words.dropFirst().first?.first ?? "B"
    let power = ["B": 0, "K": 10, "M": 20, "G": 30, "T": 40][unit] ?? 0
    return number << UInt64(power)
  }

  /// Offset and letter of every cell.
  private func cells(_ pane: [[Character]], _ size: UInt64) -> [(offset: UInt64, letter: Character)] {
    var result: [(UInt64, Character)] = []
    for line in pane {
      let text = Array(line.drop { $0 == " " })
      let digits = text.prefix { $0.isHexDigit }
      guard digits.count >= 6, let start = UInt64(String(digits), radix: 16), start % size == 0 else {
        continue
      }
      var rest = Array(text.dropFirst(digits.count))
      while rest.last == " " { rest.removeLast() }
      guard rest.prefix(2).allSatisfy({ $0 == " " }), rest.count > 2 else { continue }
      var column = 0
      var at = 2
      while at < rest.count {
        if column > 0, column % 16 == 0 { at += 1 }
        guard at < rest.count else { break }
        result.append((start + UInt64(column) * size, rest[at]))
        column += 1
        at += 1
      }
    }
    return result
  }

  @Test("title, maps, legend and place say what the bytes say", arguments: ScreenKindOfImage.all)
  func firstScreen(_ kind: ScreenKindOfImage) throws {
    let folder = try ImageFolder(kind)
    let reader = try PlainReader(folder.path)
    let explorer = try explorer(folder.path)
    let picture = explorer.canvas().text()
    let lines = picture.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0) }
    // Title.
    let title = String(lines[0])
    for word in kind.title { #expect(title.contains(word), "\(title)") }
    #expect(title.contains("DIRTY") == reader.isDirty && title.contains("CORRUPT") == reader.isCorrupt)
    #expect(title.contains("v\(reader.version)") || title.contains("a.qcow2"))
    #expect(
      title.contains("LUKS") == reader.isEncrypted && title.contains("data in") == reader.hasExternalData)
    checkHealth(title, reader)
    // The guest map.
    let cluster: UInt64 = 1 << reader.clusterBits
    let guestPane = try pane(lines, "1 Guest map")
    let guestSize = try #require(cellSize(guestPane.footer), "\(guestPane.footer)")
    let guestCells = cells(guestPane.lines, guestSize).filter { $0.offset < reader.size }
    #expect(guestCells.count > 8, "\(picture)")
    for cell in guestCells {
      let first = cell.offset / cluster
      let wanted = reader.guestCell(
        first..<max(first + 1, (cell.offset + guestSize) / cluster), belowEnd: kind.belowEnd)
      if wanted != cell.letter {
        Issue.record("guest 0x\(String(cell.offset, radix: 16)): \(cell.letter), not \(wanted)\n\(picture)")
        break
      }
    }
    if reader.hasExternalData {
      // The cursor is on the guest's data, and so the map is the one of the file that has it.
      try checkDataFile(try pane(lines, "2 Host map of the data file d.raw"), reader, picture)
      try checkImageFile(try explorer.picture("f"), reader)
    } else {
      try checkImageFile(picture, reader)
    }
    for place in kind.places { try checkPlace(place, kind, reader, explorer) }
  }

  /// "sound", or as many leaks and errors as there are.
  private func checkHealth(_ title: String, _ reader: PlainReader) {
    guard !reader.isStale else { return }
    #expect(title.contains(" saved "), "\(title)")
    func counted(_ count: Int, _ word: String) -> String? {
      count == 0 ? nil : "\(count) \(word)\(count == 1 ? "" : "s")"
    }
    let units = reader.hasExtendedL2 ? 32 : 1
    let bad = reader.guest.values.reduce(0) { $0 + $1.count { $0 == "!" } }
    let errors = reader.faults.values.count { $0 == "!" } + (bad + units - 1) / units
    let leaks = reader.faults.values.count { $0 == "X" }
    let words = [counted(errors, "error"), counted(leaks, "leak")].compactMap { $0 }.joined(separator: ", ")
    #expect(title.contains("  " + (words.isEmpty ? "sound" : words)), "\(title)")
  }

  /// The map of an external data file: what an entry leads to, and what the host keeps of it.
  private func checkDataFile(
    _ pane: (lines: [[Character]], footer: String), _ reader: PlainReader, _ picture: String
  ) throws {
    let size: UInt64 = 1 << reader.clusterBits
    let cells = cells(
      Array(pane.lines.prefix { !$0.allSatisfy { $0 == " " } }), cellSize(pane.footer) ?? size)
    #expect(cells.count > 8, "\(picture)")
    for cell in cells {
      let cluster = cell.offset / size
      let wanted: Character =
        !reader.dataClusters.contains(cluster) ? "." : reader.isHoleOfData(cluster) ? "o" : "#"
      #expect(cell.letter == wanted, "0x\(String(cell.offset, radix: 16)): \(wanted)\n\(picture)")
    }
  }

  private func checkImageFile(_ picture: String, _ reader: PlainReader) throws {
    let cluster: UInt64 = 1 << reader.clusterBits
    let lines = picture.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0) }
    // The host map, up to the first line of the legend.
    let hostPane = try pane(lines, "2 Host map")
    let hostSize = cellSize(hostPane.footer) ?? cluster
    let map = Array(hostPane.lines.prefix { !$0.allSatisfy { $0 == " " } })
    let hostCells = cells(map, hostSize).filter { $0.offset < reader.fileClusters * cluster }
    #expect(!hostCells.isEmpty)
    for cell in hostCells {
      let first = cell.offset / cluster
      let wanted = reader.hostCell(first..<first + max(1, hostSize / cluster))
      if wanted != cell.letter {
        Issue.record("host 0x\(String(cell.offset, radix: 16)): \(cell.letter), not \(wanted)\n\(picture)")
        break
      }
    }
    checkLegend(hostPane.lines.dropFirst(map.count).map { String($0) }, reader, picture)
  }

  /// Every row of the legend has the count of the reader.
  private func checkLegend(_ lines: [String], _ reader: PlainReader, _ picture: String) {
    var counts: [Character: Int] = [:]
    for role in reader.roles where role != "X" { counts[role, default: 0] += 1 }
    counts["!"] = reader.faults.values.count { $0 == "!" }
    counts["X"] = reader.faults.values.count { $0 == "X" }
    var seen: Set<Character> = []
    for line in lines {
      let words = line.split(separator: " ").map(String.init)
      // "H header 1 T refc. table 1": a letter, words, a number.
      var letter: Character?
      for word in words {
        if let number = Int(word), let current = letter {
          #expect(number == counts[current] ?? 0, "\(current) in '\(line)'\n\(picture)")
          seen.insert(current)
          letter = nil
        } else if letter == nil {
          guard word.count == 1, let first = word.first else { break }
          letter = first
        }
      }
    }
    let wanted = Set(counts.filter { $0.value > 0 }.keys).union("H#X!.")
    #expect(seen == wanted, "\(seen) \(wanted)\n\(picture)")
    if reader.isStale { #expect(lines.joined(separator: " ").contains("refcounts"), "\(picture)") }
  }

  /// "Where is it?" for a guest offset, and for the host cluster it leads to.
  private func checkPlace(
    _ offset: UInt64, _ kind: ScreenKindOfImage, _ reader: PlainReader, _ explorer: Explorer
  ) throws {
    func text(_ script: String) throws -> String {
      try ScriptRunner.run(script, on: explorer)
      let lines = explorer.canvas().text().split(separator: "\n", omittingEmptySubsequences: false).map {
        Array($0)
      }
      return try pane(lines, "3 Where is it?").lines.map { String($0) }.joined(separator: "\n")
    }
    let cluster = offset >> reader.clusterBits
    let place = try text(":goto \(offset)")
    #expect(place.contains("cluster \(cluster), byte \(offset % (1 << reader.clusterBits))"), "\(place)")
    guard let entry = reader.entries[cluster] else {
      let answers = offset < kind.belowEnd
      #expect(place.contains("layer 1 of 2") == (kind.belowEnd > 0), "\(place)")
      if kind.belowEnd > 0 { #expect(place.contains("behind the end of") != answers, "\(place)") }
      if !answers { #expect(place.contains("reads zeroes") || place.contains("reads as zeroes"), "\(place)") }
      return
    }
    let letters = reader.guest[cluster] ?? []
    func hex(_ value: UInt64) -> String {
      let text = String(value, radix: 16)
      return String(repeating: "0", count: max(0, 16 - text.count)) + text
    }
    let word = hex(entry.descriptor)
    #expect(place.contains(word.prefix(8) + " " + word.suffix(8)), "\(place)")
    #expect(place.contains(String(entry.address, radix: 16)))
    // The table may be in conflict where the entry is not.
    let conflicts = place.components(separatedBy: "conflict").count - 1
    let ofTable = place.components(separatedBy: "the L2 table: ").count - 1
    #expect((conflicts > ofTable) == letters.contains("!"), "\(place)")
    #expect(place.contains("shared") == letters.contains("s"), "\(place)")
    let host = entry.descriptor & 0x00ff_ffff_ffff_fe00
    if reader.dataClusters.contains(cluster) {
      #expect(place.contains("of d.raw") && place.contains("0x\(hex(host).suffix(6))"), "\(place)")
      #expect(!place.contains("refcount") || place.contains("-> L2 table"), "\(place)")
    }
    guard entry.descriptor >> 62 & 1 == 0, host != 0, reader.hasExternalData == false else { return }
    let number = host >> reader.clusterBits
    #expect(place.contains(String(host, radix: 16)), "\(place)")
    guard number < reader.fileClusters else { return }
    #expect(place.contains("refcount \(reader.refcounts[Int(number)])"), "\(place)")
    let isAlone = entry.descriptor >> 63 == 0 && reader.refcounts[Int(number)] == 1
    #expect(place.contains("COPIED not set") == isAlone, "\(place)")
    // The host side names all owners, or the one there is.
    let side = try text(":goto host \(host)")
    #expect(side.contains("refcount \(reader.refcounts[Int(number)])"), "\(side)")
    let owners = reader.ownerCount(number)
    if owners > 1 { #expect(side.contains("1 of \(owners): "), "\(side)") }
  }
}
