// The history screen: every operation with its state, exploring one moves nothing, and going to one is undo and redo.

import CellScreen
import Explorer
import ExplorerSupport
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct HistoryTests {
  @Test("generations are listed, looked at and gone to") func history() throws {
    let folder = try ImageFolder()
    let explorer = try folder.explorer()
    let session = explorer.session
    try ScriptRunner.run(":write 5M 64k\n:write 6M 64k\n:discard 5M 64k\nu\nH", on: explorer)
    #expect(explorer.screen == .history && session.generation == 2 && session.generations == 3)
    let text = explorer.canvas().text()
    #expect(
      text.contains("as it was opened") && text.contains("taken back") && text.contains("now"), "\(text)")
    let bytes = try folder.bytes(of: session)
    // Exploring an older one shows it on the maps and changes nothing.
    try ScriptRunner.run("k k Enter", on: explorer)
    #expect(explorer.screen == .explorer && explorer.message?.contains("generation 0") == true)
    #expect(session.generation == 2)
    #expect(sameBytes(try folder.bytes(of: session), bytes))
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":write 7M 64k", on: explorer) }
    try ScriptRunner.run(":look-at now\nH\nG a", on: explorer)
    #expect(session.generation == 3)
    try ScriptRunner.run(":generation 0", on: explorer)
    #expect(session.generation == 0 && session.generations == 3)
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":generation 4", on: explorer) }
    try ScriptRunner.run(":generation 2", on: explorer)
    #expect(sameBytes(try folder.bytes(of: session), bytes))
    // The steps of the selected one.
    try ScriptRunner.run("H\ng j s", on: explorer)
    #expect(explorer.screen == .steps && explorer.canvas().text().contains("operation 1 of 3"))
  }
}

extension HistoryTests {
  @Test("an old generation is written to a file of its own, and gone on from") func fork() throws {
    let folder = try ImageFolder()
    let files = try folder.files()
    let explorer = try folder.explorer(.scratch, files)
    let session = explorer.session
    try ScriptRunner.run(":write 5M 64k", on: explorer)
    let old = try folder.bytes(of: session)
    try ScriptRunner.run(":write 6M 64k\n:discard 5M 64k", on: explorer)
    let newest = try folder.bytes(of: session)
    // From the list, and from a generation that is looked at; nothing moves here.
    let (first, second) = (folder.path + ".first", folder.path + ".second")
    try ScriptRunner.run("H\ng j\n:fork \(first)", on: explorer)
    try ScriptRunner.run("Enter\n:fork \(second)", on: explorer)
    #expect(try session.generation == 3 && sameBytes(folder.bytes(of: session), newest))
    for path in [first, second] {
      let file = try #require(files.copies[path])
      #expect(sameBytes(try file.bytes(at: 0, count: Int(file.length)), old))
    }
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":fork \(first)", on: explorer) }
    try ScriptRunner.run(":fork! \(first)", on: explorer)
    // What is looked at becomes the present; the rest can be done again, until something else is done.
    try ScriptRunner.run(":fork", on: explorer)
    #expect(session.generation == 1 && session.generations == 3)
    #expect(explorer.message?.contains("2 operations") == true)
    #expect(sameBytes(try folder.bytes(of: session), old))
    try ScriptRunner.run("C-r C-r", on: explorer)
    #expect(sameBytes(try folder.bytes(of: session), newest))
    try ScriptRunner.run("H\ng j f", on: explorer)
    #expect(session.generation == 1)
    try ScriptRunner.run(":write 7M 64k", on: explorer)
    #expect(session.generation == 2 && session.generations == 2)
  }
}

extension ImageFolder {
  fileprivate func bytes(of session: Session) throws -> [UInt8] {
    try session.overlay.bytes(at: 0, count: Int(session.overlay.length))
  }
}
