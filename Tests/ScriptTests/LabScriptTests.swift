// Keys of the lab: it runs between two pictures, stops, steps, changes its speed, begins again.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import TestSupport
import Testing

@Suite(.tags(.fast)) struct LabScriptTests {
  private func explorer(_ script: String, width: Int = 120, height: Int = 40) throws -> Explorer {
    let explorer = try demoExplorer(width: width, height: height)
    try ScriptRunner.run(script, on: explorer)
    return explorer
  }

  private func title(_ explorer: Explorer) -> String { explorer.canvas().rowText(0) }

  @Test func runsStepsAndStops() throws {
    let explorer = try explorer(":lab churn")
    #expect(explorer.screen == .lab && explorer.isAnimating)
    #expect(title(explorer).contains("churn, seed 1, 64M in 64K clusters, operation 20 of 2000"))
    #expect(title(explorer).contains("running, 20 per picture"))
    // A picture that nobody has seen yet is not overtaken.
    #expect(explorer.scan(budgetNanoseconds: 1_000_000_000))
    #expect(title(explorer).contains("operation 20 of"))
    try ScriptRunner.run("Space", on: explorer)
    #expect(title(explorer).contains("operation 20 of 2000") && title(explorer).contains("paused"))
    try ScriptRunner.run(".", on: explorer)
    #expect(title(explorer).contains("operation 21 of"))
    try ScriptRunner.run("1 0 0 .", on: explorer)
    #expect(title(explorer).contains("operation 121 of"))
    try ScriptRunner.run(":lab-step 29", on: explorer)
    #expect(title(explorer).contains("operation 150 of"))
    try ScriptRunner.run("+ +", on: explorer)
    #expect(title(explorer).contains("80 per picture") && title(explorer).contains("operation 150 of"))
    try ScriptRunner.run("- Space", on: explorer)
    #expect(
      title(explorer).contains("running, 40 per picture") && title(explorer).contains("operation 190 of"))
    try ScriptRunner.run("Space\n9 9 9 9 .", on: explorer)
    #expect(title(explorer).contains("operation 2000 of 2000") && title(explorer).contains("done"))
    #expect(throws: ScriptError.self) { try ScriptRunner.run(".", on: explorer) }
    #expect(throws: ScriptError.self) { try ScriptRunner.run("Space", on: explorer) }
    try ScriptRunner.run("r", on: explorer)
    #expect(title(explorer).contains("seed 2") && title(explorer).contains("operation 40 of 2000"))
  }

  /// A key is answered in the middle of any amount of work.
  @Test func neverBlocks() throws {
    let explorer = try explorer(":lab churn\nSpace\n- - - - -")
    _ = explorer.perform(Command(.labStep, ["2000"]))
    var slices = 0
    while !explorer.scan(budgetNanoseconds: 1_000) { slices += 1 }
    #expect(slices > 100)
    #expect(title(explorer).contains("operation 2000 of"))
  }

  @Test func columns() throws {
    let explorer = try explorer(":lab reorder\n3 .")
    let text = explorer.canvas().text()
    for policy in ["default", "keep-mapping", "pinned"] { #expect(text.contains(" \(policy) ")) }
    #expect(text.contains("+= default"))
    #expect(text.contains("TTTTT2046") && text.contains("TTTTT0246"))
    #expect(text.contains("away   2 of 16") && text.contains("away   0 of 16"))
    for (key, policy) in [
      ("l", "keep-mapping"), ("l", "pinned"), ("l", "pinned"), ("Tab", "default"), ("S-Tab", "pinned"),
      ("g", "default"), ("G", "pinned"),
    ] {
      try ScriptRunner.run(key, on: explorer)
      #expect(explorer.canvas().text().contains("+= \(policy)"))
    }
    // Where they do not fit the selected one is seen.
    try ScriptRunner.run("size 50x20", on: explorer)
    #expect(explorer.canvas().text().contains("+= pinned") && !explorer.canvas().text().contains(" default "))
    try ScriptRunner.run("g", on: explorer)
    #expect(explorer.canvas().text().contains("+= default"))
    // A click selects.
    try ScriptRunner.run("size 120x40", on: explorer)
    _ = explorer.handle(.mouse(Mouse(x: 100, y: 5, kind: .press)))
    #expect(explorer.canvas().text().contains("+= pinned"))
  }

  @Test func policiesAndRefusals() throws {
    let explorer = try explorer(":lab database pinned,default")
    #expect(
      explorer.canvas().text().contains("+= pinned") && !explorer.canvas().text().contains("keep-mapping"))
    try ScriptRunner.run("Space\nq", on: explorer)
    #expect(explorer.screen == .explorer && !explorer.isAnimating)
    let before = try self.explorer("").canvas()
    #expect(explorer.canvas().text() == before.text(), "the image is untouched")
    try ScriptRunner.run(":lab", on: explorer)
    #expect(explorer.screen == .lab && title(explorer).contains("database"))
    for line in [
      ":lab nothing", ":lab churn x", ":lab churn pinned,pinned", ":lab churn pinned more",
    ] {
      #expect(throws: ScriptError.self) { try ScriptRunner.run(line, on: explorer) }
    }
    for line in [":lab", ":lab-run", ":lab-step", ":lab-faster", ":lab-restart"] {
      #expect(throws: ScriptError.self) { try ScriptRunner.run(line, on: try demoExplorer()) }
    }
    // Help and the way back.
    try ScriptRunner.run("?", on: explorer)
    #expect(explorer.canvas().text().contains("Lab: the keys here"))
    try ScriptRunner.run("q\nq", on: explorer)
    #expect(explorer.screen == .explorer)
  }

  /// The guest that the program has with it runs under every policy.
  @Test func recordedGuest() throws {
    let explorer = try explorer(":lab boot\nSpace\n9 9 9 9 .")
    #expect(title(explorer).contains("boot") && title(explorer).contains("done"))
  }

  @Test func completion() throws {
    let explorer = try explorer(":\ntype lab c\nTab")
    #expect(explorer.promptText == "lab churn")
    try ScriptRunner.run("type  pi\nTab", on: explorer)
    #expect(explorer.promptText == "lab churn pinned")
    try ScriptRunner.run("type ,d\nTab", on: explorer)
    #expect(explorer.promptText == "lab churn pinned,default")
  }
}
