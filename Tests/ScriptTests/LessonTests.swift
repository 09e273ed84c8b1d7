// Every lesson is played: its commands work, what it promises stands in the log, and going back ends in
// the same image.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import Storage
import Testing

@Suite struct LessonTests {
  private func explorer(_ lesson: Lesson) throws -> Explorer {
    let files = MemoryFiles()
    let explorer = Explorer(
      try lesson.session(files: files), files: files, width: 80, height: 24, glyphs: .ascii)
    settle(explorer)
    explorer.begin(lesson)
    return explorer
  }

  private func press(_ key: Character, _ explorer: Explorer) {
    for scalar in key.unicodeScalars { _ = explorer.handle(.key(.character(scalar))) }
    settle(explorer)
  }

  @Test(arguments: Lesson.all.map(\.name)) func play(_ name: String) throws {
    let lesson = try #require(Lesson.all.first { $0.name == name })
    let explorer = try explorer(lesson)
    for (index, step) in lesson.steps.enumerated() {
      if index > 0 { press(".", explorer) }
      #expect(!explorer.messageIsError, "step \(index + 1): \(explorer.message ?? "")")
      let picture = explorer.canvas().text()
      #expect(picture.contains("step \(index + 1) of \(lesson.steps.count)"))
      // All of the words fit on the smallest screen with panes.
      let words = step.text.split(whereSeparator: { $0 == " " || $0 == "\n" })
      if let last = words.last { #expect(picture.contains(last), "step \(index + 1) is cut") }
      if let shows = step.shows {
        let told = explorer.session.done.last?.narration.lines ?? []
        #expect(told.contains { $0.contains(shows) }, "step \(index + 1): \(told)")
      }
    }
    press(".", explorer)
    #expect(explorer.message == "this was the last step; , goes back, q leaves")
    // All the way back, and forth again.
    let end = try explorer.session.image.places(shift: 0x50000)
    for _ in 1..<lesson.steps.count { press(",", explorer) }
    #expect(explorer.canvas().text().contains("step 1 of"))
    #expect(explorer.session.done.isEmpty)
    press(",", explorer)
    #expect(explorer.message == "this is the first step")
    for _ in 1..<lesson.steps.count { press(".", explorer) }
    #expect(try explorer.session.image.places(shift: 0x50000) == end)
  }

  @Test func names() throws {
    #expect(Set(Lesson.all.map(\.name)).count == Lesson.all.count)
    #expect(Lesson.all.first?.name == "reorder")
    let explorer = try demoExplorer()
    try ScriptRunner.run(":lesson", on: explorer)
    #expect(explorer.message?.contains("reorder, subclusters") == true)
  }

  /// The mail's case: swapped under the default policy, in order under keep-mapping.
  @Test func reorder() throws {
    let explorer = try explorer(try #require(Lesson.all.first))
    for _ in 0..<4 { press(".", explorer) }
    #expect(try explorer.session.image.places(shift: 0x50000).moved == 2)
    for _ in 0..<5 { press(".", explorer) }
    #expect(try explorer.session.image.places(shift: 0x50000).moved == 0)
  }
}
