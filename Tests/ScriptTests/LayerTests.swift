// The explorer on a chain: which layer answers is said on the map and in "Where is it?", the title
// names the backing file, and a layer that is missing is marked.

import CellScreen
import Explorer
import ExplorerSupport
import Glibc
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct LayerTests {
  /// A raw base of 512 KiB, an image of 1 MiB above it, and one of 2 MiB at the top.
  private func chain(_ folder: TemporaryDirectory) throws -> String {
    let base = try FileStorage(path: folder.path("base.raw"), mode: .create)
    try base.write([UInt8](repeating: 1, count: 512 << 10), at: 0)
    for (name, below, format, size) in [("mid", "base.raw", "raw", 1), ("top", "mid.qcow2", "qcow2", 2)]
      as [(String, String, String, UInt64)]
    {
      var options = Image.CreateOptions(size: size << 20)
      options.backingFile = below
      options.backingFormat = format
      let storage = try FileStorage(path: folder.path(name + ".qcow2"), mode: .create)
      try Image.create(on: storage, options)
      var session = Image.Options()
      session.writable = true
      let image = try ChainOpener(folder.path(name + ".qcow2")).openImage(on: storage, session)
      let bytes = [UInt8](repeating: 2, count: 65536)
      try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(name == "mid" ? 65536 : 131072)) }
      if name == "mid" { try image.writeZeroes(at: GuestOffset(196608), count: 65536, mayUnmap: true) }
      try image.close()
    }
    return folder.path("top.qcow2")
  }

  private func explorer(_ path: String, _ policy: ChainPolicy = ChainPolicy()) throws -> Explorer {
    let opener = ChainOpener(path, policy)
    let file = try opener.openFile(writable: false)
    let files = MemoryFiles(image: file)
    let session = try Session(file, title: "top.qcow2", mode: .scratch, files: files, layers: opener)
    let explorer = Explorer(session, files: files, width: 160, height: 40, glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  private func picture(_ explorer: Explorer, _ script: String) throws -> String {
    try ScriptRunner.run(script, on: explorer)
    return explorer.canvas().text()
  }

  @Test("the title names the backing file, the map and the place name the layer that answers")
  func answers() throws {
    let folder = try TemporaryDirectory()
    let explorer = try self.explorer(try chain(folder))
    let start = try picture(explorer, ":goto 0")
    #expect(start.contains("over mid.qcow2"))
    #expect(start.contains("::#:"), "\(start)")
    #expect(start.contains("layer 2 of 3, at 0x0 of \(folder.path("base.raw"))"), "\(start)")
    #expect(try picture(explorer, ":goto 64k").contains("layer 1 of 3, at 0x50000 of"))
    #expect(try picture(explorer, ":goto 128k").contains("layer 0 of 3"))
    #expect(try picture(explorer, ":goto 192k").contains("layer 1 of 3, zeroes of"))
    #expect(
      try picture(explorer, ":goto 768k").contains(
        "behind the end of \(folder.path("base.raw")), layer 2 of 3"))
    #expect(
      try picture(explorer, ":goto 1536k").contains(
        "behind the end of \(folder.path("mid.qcow2")), layer 1 of 3"))
    // A write copies what the layers below hold.
    _ = try picture(explorer, ":write -P 0x33 70k 1k")
    _ = try picture(explorer, ":read -P 2 64k 6k")
    #expect(throws: ScriptError.self) { try picture(explorer, ":read -P 2 64k 8k") }
  }

  @Test("a missing layer is marked where it is needed, and the image is only looked at")
  func missing() throws {
    let folder = try TemporaryDirectory()
    let path = try chain(folder)
    #expect(Glibc.unlink(folder.path("mid.qcow2")) == 0)
    #expect(throws: ImageError.self) { try self.explorer(path) }
    var policy = ChainPolicy()
    policy.allowsMissing = true
    let explorer = try self.explorer(path, policy)
    let start = try picture(explorer, ":goto 0")
    #expect(start.contains("[ro]"))
    #expect(start.contains("??#?"), "\(start)")
    #expect(start.contains("layer 1 of 2 is missing: \(folder.path("mid.qcow2"))"), "\(start)")
    #expect(throws: ScriptError.self) { try picture(explorer, ":write 0 4k") }
    #expect(throws: ScriptError.self) { try picture(explorer, ":read 0 4k") }
    _ = try picture(explorer, ":read -P 2 128k 64k")
  }
}
