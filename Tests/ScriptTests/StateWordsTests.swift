// Two questions, two words in the title: does the file hold what is shown, and what did the scan find. The
// counts of the second one are those of the genuine check.

import Explorer
import ExplorerSupport
import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct StateWordsTests {
  /// Changes the refcounts of host clusters that have data, or of free ones.
  private func damage(_ folder: ImageFolder, free: Int, used: Int) throws {
    let reader = try PlainReader(folder.path)
    let size = 1 << Int(reader.clusterBits)
    let unused = reader.roles.indices.filter { reader.roles[$0] == "." }.prefix(free)
    let data = reader.roles.indices.filter { reader.roles[$0] == "#" || reader.roles[$0] == "o" }.prefix(used)
    #expect(unused.count == free && data.count == used)
    try folder.change { image in
      let perBlock = size / 2
      for (clusters, value) in [(Array(unused), UInt8(1)), (Array(data), UInt8(0))] {
        for cluster in clusters {
          let block = Int(image.word(image.refcountTable + cluster / perBlock * 8))
          image.bytes[block + cluster % perBlock * 2 + 1] = value
        }
      }
    }
  }

  /// What the genuine check counts.
  private func judged(_ path: String) throws -> (errors: Int, leaks: Int) {
    let result = try run(try requireTool("qemu-img"), ["check", "--output=json", path])
    let report = try #require(
      try JSONSerialization.jsonObject(with: Data(result.output)) as? [String: Any], "\(result.stdout)")
    return (report["corruptions"] as? Int ?? 0, report["leaks"] as? Int ?? 0)
  }

  @Test(
    "the scan's word is the count of the genuine check",
    arguments: [(0, 0, "sound"), (0, 3, "3 leaks"), (0, 1, "1 leak"), (2_200, 0, "2,200 errors")])
  func health(_ errors: Int, _ leaks: Int, _ words: String) throws {
    let folder = try ImageFolder(
      options: "cluster_size=512", size: "8M",
      commands: ["write 0 \(max(errors, 100) * 256)", "write 7M 4k", "discard 7M 4k", "write 8000k 512"])
    // A used cluster whose refcount is 0 is two errors: of the refcount, and of the COPIED flag.
    try damage(folder, free: leaks, used: errors / 2)
    let judge = try judged(folder.path)
    #expect(judge.errors == errors && judge.leaks == leaks)
    for width in [80, 120] {
      let title = try folder.explorer(width: width, height: 30).title
      #expect(title.contains("saved") && title.contains(words), "\(title)")
      #expect(!title.contains("clean"))
      if words != "sound" { #expect(!title.contains("sound"), "\(title)") }
    }
  }

  @Test("both words at once, whatever the other one is")
  func both() throws {
    let folder = try ImageFolder(commands: ["write 0 192k", "write 7M 64k", "write 1M 64k", "discard 7M 64k"])
    try damage(folder, free: 1, used: 0)
    #expect(try judged(folder.path) == (0, 1))
    let explorer = try folder.explorer()
    for (script, word) in [
      ("", "saved"), (":write 8M 64k", "unsaved"), ("u", "saved"), ("C-r", "unsaved"), (":w", "saved"),
      ("u", "unsaved"), (":w", "saved"),
    ] {
      _ = try explorer.picture(script)
      let title = explorer.title
      #expect(title.contains(" \(word) ") && title.contains("1 leak"), "after '\(script)': \(title)")
    }
    #expect(try demoExplorer().title.contains("in memory"))
  }
}
