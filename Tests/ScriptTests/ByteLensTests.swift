// The lenses that look at bytes, on images of the genuine tools: what each cluster shows is compared with the bytes that
// the test itself finds there, in the file and on the disk.

import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct ByteLensTests {
  /// Brings everything to the picture that a lens has to say.
  private func finish(_ explorer: Explorer) {
    for _ in 0..<4 {
      _ = explorer.canvas()
      settle(explorer)
    }
  }

  /// The letters of the guest map, row by row.
  private func guest(_ explorer: Explorer, digits: Int = 7) -> [Character] {
    finish(explorer)
    return cells(explorer, from: digits + 4, to: 79, digits: 2...digits + 1)
  }

  /// The letters of the window of the host screen.
  private func host(_ explorer: Explorer) throws -> [Character] {
    try ScriptRunner.run("X", on: explorer)
    finish(explorer)
    let found = cells(explorer, from: 10, to: 78, digits: 2...7)
    try ScriptRunner.run("q", on: explorer)
    return found
  }

  private func cells(_ explorer: Explorer, from: Int, to: Int, digits: ClosedRange<Int>) -> [Character] {
    let hex = Set("0123456789abcdef")
    var cells: [Character] = []
    for line in explorer.canvas().text().split(separator: "\n") {
      let line = Array(line)
      guard line.count > to, line[0] == "|", line[1] == " ", line[digits].allSatisfy({ hex.contains($0) }),
        line[digits.upperBound + 1] == " "
      else { continue }
      cells += line[from..<to].filter { $0 != " " && $0 != "|" }
    }
    return cells
  }

  /// An image whose clusters hold one kind of bytes each.
  private func folder(size: String = "16M") throws -> ImageFolder {
    try ImageFolder(
      ScreenKindOfImage(
        name: "bytes", size: size, commands: [],
        after: { folder in
          var random = SplitMix64(seed: 5)
          let noise = (0..<131_072).map { _ in UInt8.random(in: 0...255, using: &random) }
          let line = Array("The quick brown fox jumps over the lazy dog, again and again.\n".utf8)
          func put(_ name: String, _ bytes: [UInt8]) throws {
            try Data(bytes).write(to: URL(fileURLWithPath: folder.folder.path(name)))
          }
          try put("random.bin", noise)
          try put("text.bin", Array((0..<2000).flatMap { _ in line }.prefix(65536)))
          try put("half.bin", Array(noise[..<32768]) + [UInt8](repeating: 0, count: 32768))
          let commands = [
            "write -P 0 0 128k", "write -P 65 128k 64k", "write -s random.bin 192k 128k",
            "write -s text.bin 320k 64k", "write -s half.bin 384k 64k", "write -z 512k 64k",
            "write -c -s text.bin 576k 64k",
          ]
          try folder.io(commands.flatMap { ["-c", $0] })
        }))
  }

  /// Where a guest cluster lies in the file.
  private func place(_ reader: PlainReader, _ guest: UInt64) -> Int? {
    reader.entries[guest].map { Int($0.descriptor & 0x00ff_ffff_ffff_fe00) >> 16 }
  }

  @Test func looks() throws {
    let folder = try folder()
    let explorer = try folder.explorer(.readOnly)
    try ScriptRunner.run(":lens looks-like", on: explorer)
    let cells = guest(explorer)
    #expect(String(cells.prefix(6) + cells[7..<11]) == "ZZPRRA..C.", "\(cells.prefix(12))")
    let reader = try PlainReader(folder.path)
    let file = try host(explorer)
    for (guest, letter) in [(0, "Z"), (1, "Z"), (2, "P"), (3, "R"), (4, "R"), (5, "A")]
      as [(UInt64, Character)]
    {
      let at = try #require(place(reader, guest))
      #expect(file[at] == letter, "guest cluster \(guest) at \(at): \(file)")
    }
    #expect(file[0] == "Q" && !file.contains("!"))
  }

  @Test("what is not what the tables say stands out, on both maps")
  func contradictions() throws {
    let folder = try folder()
    let reader = try PlainReader(folder.path)
    let (data, table) = (
      try #require(place(reader, 2)), try #require(reader.roles.firstIndex(of: "2"))
    )
    // The table over a cluster of data, and text over the table.
    var file = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path)))
    file.replaceSubrange(data << 16..<(data + 1) << 16, with: file[table << 16..<(table + 1) << 16])
    try Data(file).write(to: URL(fileURLWithPath: folder.path))
    let explorer = try folder.explorer(.readOnly)
    try ScriptRunner.run(":lens looks-like", on: explorer)
    #expect(guest(explorer)[2] == "!")
    let cells = try host(explorer)
    #expect(cells.indices.filter { cells[$0] == "!" } == [data])
  }

  @Test func compressible() throws {
    let folder = try folder()
    let explorer = try folder.explorer(.readOnly)
    try ScriptRunner.run(":lens compressible", on: explorer)
    let cells = guest(explorer)
    // Zeroes need no cluster; bytes of no order stay; half of them is half.
    #expect(String(cells.prefix(6) + cells[7..<11]) == "999009..C.", "\(cells.prefix(12))")
    #expect(cells[6] == "4" || cells[6] == "5")
    let reader = try PlainReader(folder.path)
    let file = try host(explorer)
    for (cluster, role) in reader.roles.enumerated() where cluster < file.count {
      switch role {
      case "c": #expect(file[cluster] == "C")
      case ".": #expect(file[cluster] == ".")
      case "#": #expect("0123456789".contains(file[cluster]))
      default: #expect(file[cluster] == "T")
      }
    }
    // Of a large disk, a cell has more clusters than are measured.
    let large = try self.folder(size: "8G").explorer(.readOnly)
    try ScriptRunner.run(":lens compressible\n:zoom fit", on: large)
    let sampled = guest(large, digits: 9)
    try #require(!sampled.isEmpty, "\(large.canvas().text())")
    #expect("abcdefghij".contains(sampled[0]) && Set(sampled.dropFirst()) == ["."], "\(sampled)")
  }

  @Test func reclaimable() throws {
    let folder = try ImageFolder(
      ScreenKindOfImage(
        name: "space", size: "16M",
        commands: ["write -P 0 0 128k", "write -P 7 128k 256k", "write -P 0 1M 64k"],
        after: { folder in
          try folder.image(["snapshot", "-c", "one", folder.path])
          try folder.io([
            "-c", "write -P 9 128k 64k", "-c", "write -P 0 2M 64k", "-c", "write -P 3 3M 64k", "-c",
            "write -z 3M 64k",
          ])
        }))
    var reader = try PlainReader(folder.path)
    // A leak: the count of a free cluster behind the others.
    var file = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path)))
    let leaked = reader.roles.count
    file += [UInt8](repeating: 1, count: 131_072)
    let block = try #require(reader.roles.firstIndex(of: "B"))
    file[block << 16 + leaked * 2 + 1] = 1
    try Data(file).write(to: URL(fileURLWithPath: folder.path))
    reader = try PlainReader(folder.path)
    let explorer = try folder.explorer(.readOnly)
    try ScriptRunner.run(":lens reclaimable", on: explorer)
    let disk = guest(explorer)
    // A snapshot has the first zeroes too; those behind it the disk has alone.
    #expect(
      disk[0] == "-" && disk[16] == "-" && disk[2] == "-" && disk[32] == "Z" && disk[48] == "K", "\(disk)")
    let cells = try host(explorer)
    let kept = place(reader, 48)
    for (cluster, role) in reader.roles.enumerated() where cluster < cells.count {
      let at = UInt64(cluster)
      let bytes = file[cluster << 16..<min(file.count, (cluster + 1) << 16)]
      let expected: Character =
        switch role {
        case ".": cells[cluster] == "F" || cells[cluster] == "E" ? cells[cluster] : "."
        case "X": "L"
        case "#" where reader.snapshotOnly.contains(at): "S"
        case "#" where reader.shared.contains(at): "-"
        case "#" where cluster == kept: "K"
        case "#" where bytes.allSatisfy({ $0 == 0 }): "Z"
        case "l": "S"
        default: "-"
        }
      #expect(cells[cluster] == expected, "cluster \(cluster), \(role): \(String(cells))")
    }
    #expect(cells[leaked] == "L" && cells[leaked + 1] == "E" && cells.contains("S") && cells.contains("Z"))
  }

  @Test("no two letters of a legend are alike, in either set of characters")
  func letters() {
    for lens in Lens.allCases {
      for glyphs in GlyphSet.allCases {
        let letters = lens.letters(glyphs)
        #expect(Set(letters).count == letters.count, "\(lens.name): \(letters)")
      }
    }
  }
}
