// The host screen on images of every kind against a reader of its own: the figures, the free rows and the end must
// be those of the bytes, and every row must lead where it says.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct HostScreenTests {
  /// The rows of the pane of figures: name, clusters, bytes, per cent.
  private func figures(_ explorer: Explorer) throws -> [String: [String]] {
    let lines = explorer.canvas().text().split(separator: "\n").map(Array.init)
    let title = Array("3 What fills it")
    var place: (x: Int, y: Int)?
    for (y, line) in lines.enumerated() where place == nil {
      for x in 0..<max(0, line.count - title.count) where Array(line[x..<x + title.count]) == title {
        place = (x - 3, y)
      }
    }
    let (x, y) = try #require(place)
    var rows: [String: [String]] = [:]
    for line in lines[(y + 1)...] {
      guard line.count > x, line[x] == "|" else { break }
      let name = String(line[(x + 4)..<(x + 16)]).trimmingCharacters(in: .whitespaces)
      rows[name] = String(line[(x + 16)..<(x + 37)]).split(separator: " ").map(String.init)
    }
    return rows
  }

  private func explorer(_ folder: ImageFolder) throws -> Explorer {
    // Tall enough that no row is scrolled away.
    try folder.explorer(.readOnly, width: 120, height: 80)
  }

  @Test("the figures are those of a reader of the bytes", arguments: ScreenKindOfImage.all)
  func figures(_ kind: ScreenKindOfImage) throws {
    let folder = try ImageFolder(kind)
    let reader = try PlainReader(folder.path)
    let explorer = try explorer(folder)
    try ScriptRunner.run("X", on: explorer)
    settle(explorer)
    if reader.hasExternalData, explorer.cursor.file == .data { try ScriptRunner.run("f", on: explorer) }
    settle(explorer)
    let rows = try figures(explorer)
    let size = UInt64(1) << reader.clusterBits
    let length = UInt64(try FileManager.default.attributesOfItem(atPath: folder.path)[.size] as? Int ?? 0)
    func bytes(_ clusters: some Sequence<UInt64>) -> UInt64 {
      clusters.reduce(0) { $0 + min(size, length - min(length, $1 * size)) }
    }
    for state in HostState.allCases where state != .wrong && state != .pastEnd {
      let letter = Character(Legend.host(state).letter)
      let there = reader.roles.indices.filter { reader.roles[$0] == letter }.map { UInt64($0) }
      guard !there.isEmpty || [.data, .free, .leaked].contains(state) else {
        #expect(rows[Legend.host(state).name] == nil)
        continue
      }
      let row = try #require(rows[Legend.host(state).name], "\(state) of \(rows)")
      #expect(
        row.first == String(there.count) && row.dropFirst().first == Notation.compact(bytes(there)),
        "\(state): \(row)")
      let percent = Double(bytes(there)) / Double(max(1, length)) * 100
      let said = try #require(row.last.map { Double($0.filter { "0123456789.".contains($0) }) ?? -1 })
      #expect(abs(said - percent) <= 0.1, "\(state): \(row)")
    }
    #expect(rows["whole file"]?.prefix(2) == [String(reader.fileClusters), Notation.compact(length)])
    #expect(rows["bad"]?.first == String(reader.faults.values.filter { $0 == "!" }.count))
    // Free rows.
    var runs: [Range<Int>] = []
    for (cluster, role) in reader.roles.enumerated() where role == "." {
      if let last = runs.last, last.upperBound == cluster {
        runs[runs.count - 1] = last.lowerBound..<cluster + 1
      } else {
        runs.append(cluster..<cluster + 1)
      }
    }
    let tail = runs.last.map { $0.upperBound == reader.roles.count ? $0.count : 0 } ?? 0
    #expect(rows["free at tail"]?.first == String(tail))
    runs.sort { ($1.count, $0.lowerBound) < ($0.count, $1.lowerBound) }
    for number in 1...10 {
      let run = runs.indices.contains(number - 1) ? runs[number - 1] : nil
      #expect(rows["free run \(number)"]?.first == run.map { String($0.count) })
    }
    let all = runs.reduce(0) { $0 + $1.count }
    #expect(rows["compacted"]?.first == String(all - tail))
    let last = reader.roles.count - tail - 1
    #expect(rows["last in use"] == ["0x" + Notation.hex(UInt64(last) << reader.clusterBits)])
    if reader.isStale {
      #expect(rows["next new"] == ["?"])
    } else {
      var next = reader.refcounts.firstIndex(of: 0).map { UInt64($0) } ?? reader.fileClusters
      // What a file that was cut has lost still has its counts.
      while next >= reader.fileClusters, reader.ownerCount(next) > 0 { next += 1 }
      #expect(rows["next new"] == ["0x" + Notation.hex(next << reader.clusterBits)])
    }
  }

  /// The text says what the screen says.
  @Test func rowsLeadWhereTheySay() throws {
    let folder = try ImageFolder(
      ScreenKindOfImage(
        name: "leaks", size: "16M", commands: ["write 0 2M", "discard 512k 256k", "discard 1M 640k"],
        after: { folder in
          try folder.image(["snapshot", "-c", "one", folder.path])
          try folder.io(["-c", "write 0 64k"])
          // A cluster in the longest row of free ones is counted, and nobody's.
          try folder.change { image in
            let free = (0..<image.bytes.count >> 16).filter {
              image.bytes[Int(image.word(image.refcountTable)) + $0 * 2 + 1] == 0
            }
            image.setRefcount(free[free.count - 3], 1)
          }
        }))
    let reader = try PlainReader(folder.path)
    let leak = try #require(reader.roles.firstIndex(of: "X"))
    let explorer = try explorer(folder)
    try ScriptRunner.run("X\nTab", on: explorer)
    settle(explorer)
    func choose(_ name: String) throws {
      try ScriptRunner.run("g", on: explorer)
      for _ in 0..<40 {
        let line = explorer.canvas().text().split(separator: "\n").first { $0.contains("||>") }
        if line?.contains(name) == true { return }
        try ScriptRunner.run("j", on: explorer)
      }
      Issue.record("no row \(name)")
    }
    for (name, cluster) in [
      ("leaked", leak), ("L2 table", try #require(reader.roles.firstIndex(of: "2"))),
      ("last in use", try #require(reader.roles.lastIndex { $0 != "." })),
      ("next new", try #require(reader.refcounts.firstIndex(of: 0))),
    ] {
      try choose(name)
      try ScriptRunner.run("Enter", on: explorer)
      #expect(explorer.cursor.host == UInt64(cluster) << 16, "\(name)")
    }
    // Owners by name, and Enter to the entry of each.
    let shared = try #require(reader.shared.min())
    try ScriptRunner.run(":goto host \(shared << 16)", on: explorer)
    settle(explorer)
    let text = explorer.canvas().text()
    #expect(text.contains("2 owners, a write here must copy"), "\(text)")
    #expect(text.contains("active disk: L2[") && text.contains("snapshot \"one\", L2["), "\(text)")
    try ScriptRunner.run("Tab\nj\nEnter", on: explorer)
    #expect(explorer.screen == .hex)
    let entry = UInt64(explorer.canvas().text().split(separator: "\n").count)
    #expect(entry > 0)
    try ScriptRunner.run("b\nEnter", on: explorer)
    #expect(explorer.screen == .hex || explorer.screen == .table)
  }

  /// What the text and the JSON say is what the screen says.
  @Test func textAndJSON() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "64M"])
    try judge.must("qemu-io", ["-c", "write 0 4M", "-c", "discard 1M 1M", "-c", "discard 3M 1M", "a.qcow2"])
    let printed = try judge.ours(["layout", "--summary", "--json", "a.qcow2"])
    let whole = try #require(
      try JSONSerialization.jsonObject(with: Data(printed.output.utf8)) as? [String: Any])
    #expect(whole["runs"] == nil)
    let parts = try #require(whole["host"] as? [[String: Any]])
    let length = try #require(judge.bytes("a.qcow2")).count
    #expect(parts.reduce(0) { $0 + ($1["bytes"] as? Int ?? 0) } == length)
    let percent = parts.reduce(0.0) { $0 + ($1["percent"] as? Double ?? 0) }
    #expect(abs(percent - 100) < 0.01)
    let runs = try #require(whole["free runs"] as? [[String: Any]])
    let totals = try #require(whole["totals"] as? [String: Any])
    #expect(runs.first?["clusters"] as? Int == totals["largest free run"] as? Int)
    #expect(runs.reduce(0) { $0 + ($1["clusters"] as? Int ?? 0) } == totals["free clusters"] as? Int)
    let cut = try #require(totals["could be cut"] as? Int)
    #expect(cut == (totals["free at the tail"] as? Int ?? -1) << 16)
    let next = try #require(whole["next cluster"] as? [String: Any])
    #expect(next["host"] as? Int == runs.compactMap { $0["host"] as? Int }.min())
    let text = try judge.ours(["layout", "--summary", "a.qcow2"]).output
    #expect(text.contains("end  the last cluster in use is at 0x") || text.contains("end  the cluster at 0x"))
    // The cluster that was foreseen is the one that the genuine tool takes.
    try judge.must("qemu-io", ["-c", "write 32M 64k", "a.qcow2"])
    let reader = try PlainReader(judge.path("a.qcow2"))
    #expect(reader.roles[(next["host"] as? Int ?? 0) >> 16] == "#")
    let owners = try judge.ours(["owners", "--json", "a.qcow2", "\(next["host"] as? Int ?? 0)"])
    let list = try #require(
      try JSONSerialization.jsonObject(with: Data(owners.output.utf8)) as? [String: Any])
    let owner = try #require((list["list"] as? [[String: Any]])?.first)
    #expect(owner["entry"] as? Int == reader.entries[512].map { Int($0.address) })
    #expect((list["neighbours"] as? [[String: Any]])?.count == 2)
  }
}
