// Every lesson is played: its commands work, what it promises stands in the log, and going back ends in
// the same image.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct LessonTests {
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
      let words = step.text.text(.standard, in: .guestMap).split(whereSeparator: { $0 == " " || $0 == "\n" })
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

  /// Sentences about the image are shown as long as they are true.
  @Test(arguments: [":write -P 1 512k 64k", ":policy keep-mapping", ":undo"])
  func leavingTheTrack(_ own: String) throws {
    let explorer = try explorer(try #require(Lesson.all.first))
    for _ in 0..<2 { press(".", explorer) }
    let asked = explorer.canvas().text()
    #expect(asked.contains("Say it before you go on."))
    let places = explorer.session.done.map(\.title)
    try ScriptRunner.run(own, on: explorer)
    settle(explorer)
    var picture = explorer.canvas().text()
    #expect(picture.contains("you left the lesson at step 3; , goes back to it"), "\(picture)")
    #expect(!picture.contains("Say it before you go on."))
    // Going on would tell of an image that is not there.
    press(".", explorer)
    #expect(explorer.messageIsError && explorer.message?.contains("you left the lesson") == true)
    picture = explorer.canvas().text()
    #expect(!picture.contains("The first free one"), "\(picture)")
    press(",", explorer)
    #expect(explorer.canvas().text().contains("Say it before you go on."))
    #expect(explorer.session.done.map(\.title) == places)
    #expect(explorer.session.image.policy == .qemu)
    // And the lesson goes on as if nothing had been.
    press(".", explorer)
    picture = explorer.canvas().text()
    #expect(picture.contains("The first free one, 0x50000") && picture.contains("L2[1] -> 0x50000"))
  }

  /// A step that promises what the engine does not do is not told as if it had.
  @Test func aStepThatIsNotTrue() throws {
    var lesson = try #require(Lesson.all.first)
    lesson.steps[3].shows = "L2[1] -> 0x70000"
    let explorer = try explorer(lesson)
    for _ in 0..<3 { press(".", explorer) }
    let picture = explorer.canvas().text()
    #expect(picture.contains("says something that the engine did not do here"), "\(picture)")
    #expect(!picture.contains("The first free one") && picture.contains("log: L2[1] -> 0x50000"))
    press(",", explorer)
    #expect(explorer.canvas().text().contains("Say it before you go on."))
  }
}
