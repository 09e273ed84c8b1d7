// `qatlas fleet --browse` as a person sees it: rows of real files, one of them opened and left again, files that change
// and vanish meanwhile, and what of it cannot be.

import Foundation
import TestSupport
import Testing

@Suite("The fleet in a terminal", .serialized, .tags(.terminal), .waits)
struct FleetTerminalTests {
  private struct Stage {
    let folder: TemporaryDirectory
    let tmux: Tmux

    init(_ images: [String], arguments: String = "\"$FOLDER\"") throws {
      folder = try TemporaryDirectory()
      for image in images {
        let made = try run(
          try requireTool("qemu-img"), ["create", "-q", "-f", "qcow2", folder.path(image), "16M"])
        guard made.status == 0 else { throw TestFailure(made.stderr) }
      }
      tmux = try Program.shell(columns: 80, rows: 24, ["FOLDER": folder.path("")])
      try enter("\"$QATLAS\" fleet --browse \(arguments)")
    }

    func enter(_ line: String) throws {
      try tmux.type(line)
      try tmux.press("Enter")
    }
    func row(_ name: String) throws -> String {
      try tmux.capture().split(separator: "\n").first { !$0.hasPrefix(" ") && $0.contains(name + " ") }.map(
        String.init) ?? ""
    }
  }

  @Test("the rows of a folder, an image opened and left, changes and losses")
  func wholeWay() throws {
    let stage = try Stage(["a.qcow2", "b.qcow2", "c.qcow2"])
    let (tmux, folder) = (stage.tmux, stage.folder)
    try tmux.waitFor("3 files ")
    try tmux.waitUntil("the look is over") { try !tmux.capture().contains("looking at images") }
    #expect(try stage.row("b.qcow2").contains("clean"))
    try tmux.press("j")
    try tmux.press("Enter")
    try tmux.waitFor("1 Guest map")
    #expect(try tmux.capture().contains("b.qcow2 [scratch]"))
    // What is saved there is seen in its row.
    let before = try stage.row("b.qcow2")
    try stage.enter(":write 0 1M")
    try stage.enter(":w")
    try tmux.waitFor("saved to")
    try tmux.press("q")
    try tmux.waitUntil("its row is new") { try stage.row("b.qcow2").contains("1M") }
    #expect(try stage.row("b.qcow2") != before)
    // One file goes, one becomes something else, and one is new.
    try FileManager.default.removeItem(atPath: folder.path("a.qcow2"))
    try Data(count: 4096).write(to: URL(fileURLWithPath: folder.path("c.qcow2")))
    let copied = try run("cp", [folder.path("b.qcow2"), folder.path("d.qcow2")])
    #expect(copied.status == 0)
    try tmux.press("g")
    try tmux.press("r")
    try tmux.waitFor("No such file")
    try tmux.press("R")
    try tmux.waitUntil("all is up to date") {
      let text = try tmux.capture()
      return text.contains("d.qcow2 ") && !text.contains("a.qcow2 ")
    }
    try tmux.waitUntil("c is no image") { try stage.row("c.qcow2").contains("no image") }
    try stage.enter(":only clean")
    try tmux.waitFor("2 of 3 files")
    try tmux.press("q")
    try tmux.waitFor("[0]>")
    #expect(try tmux.display(Program.flags) == "0 1 0")
  }

  @Test("a folder without images, and what excludes each other")
  func nothing() throws {
    let stage = try Stage([])
    try stage.tmux.waitFor("There is no file in")
    try stage.tmux.press("q")
    try stage.tmux.waitFor("[0]>")
    let program = try builtProduct("qatlas")
    for words in [["--output", "x"], ["--resume", "x"]] {
      let refused = try run(program, ["fleet", "--browse", stage.folder.path("")] + words)
      #expect(refused.status == 1, "\(refused)")
      #expect(refused.stderr.contains("--browse writes no lines"), "\(refused.stderr)")
    }
    // Without a terminal there is no list.
    let piped = try run(program, ["fleet", "--browse", stage.folder.path("")])
    #expect(piped.status == 2 && !piped.stdout.contains("\u{1b}"), "\(piped)")
  }
}
