// Images that tests make by the genuine tools and change byte by byte, and the explorer on them without a
// terminal: what it shows is compared with what the bytes say.

import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

extension ImageFolder {
  /// An image of clusters of 64 KiB with 192 KiB of data at 0 and 64 KiB at 1 MiB, unless said otherwise.
  convenience init(
    options: String = "", size: String = "16M", commands: [String] = ["write 0 192k", "write 1M 64k"]
  ) throws {
    try self.init(ScreenKindOfImage(name: "small", options: options, size: size, commands: commands))
  }

  /// What saves of the image go to.
  func files() throws -> MemoryFiles { MemoryFiles(image: try FileStorage(path: path, mode: .readWrite)) }

  /// The explorer on the image; saving writes to the file.
  func explorer(
    _ mode: Session.Mode = .scratch, _ files: MemoryFiles? = nil, width: Int = 120, height: Int = 40,
    glyphs: GlyphSet = .ascii
  ) throws -> Explorer {
    let files = try files ?? self.files()
    let explorer = Explorer(
      try session(mode, files), files: files, width: width, height: height, glyphs: glyphs)
    explorer.reopen = { () throws(ImageError) in try self.session(mode, files) }
    ExplorerSupport.settle(explorer)
    return explorer
  }

  private func session(_ mode: Session.Mode, _ files: MemoryFiles) throws(ImageError) -> Session {
    let opener = ChainOpener(path, ChainPolicy())
    opener.keepsFiles = true
    let file: FileStorage
    do throws(StorageError) { file = try FileStorage(path: path, mode: .readOnly) } catch {
      throw ImageError(error)
    }
    return try Session(file, title: "a.qcow2", mode: mode, files: files, layers: opener)
  }
}

extension Explorer {
  /// Plays a script and returns the picture.
  func picture(_ script: String = "") throws -> String {
    try ScriptRunner.run(script, on: self)
    return canvas().text()
  }

  var title: String { canvas().rowText(0) }

  /// All that is shown, as bytes of the image.
  func shownBytes() throws -> [UInt8] {
    try session.overlay.bytes(at: 0, count: Int(session.overlay.length))
  }
}

/// Undo goes back through the states, the last of which is shown now, and redo forth to it, byte for byte; then
/// the image is sound.
func expectHistory(_ states: [[UInt8]], of explorer: Explorer) throws {
  for state in states.dropLast().reversed() {
    try ScriptRunner.run("u", on: explorer)
    #expect(sameBytes(try explorer.shownBytes(), state))
  }
  for state in states.dropFirst() {
    try ScriptRunner.run("C-r", on: explorer)
    #expect(sameBytes(try explorer.shownBytes(), state))
  }
  let check = try ImageCheck(explorer.session.overlay) { _ in }.run()
  #expect(check.corruptions == 0 && check.leaks == 0)
}
