// Going on with another image: the dialog that files are chosen in, and the one for a new image.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing
import ToolText

@Suite("Other images", .tags(.fast)) struct OtherImageTests {
  private func start(width: Int = 100, height: Int = 30) throws -> (explorer: Explorer, shelf: MemoryShelf) {
    let explorer = try demoExplorer(width: width, height: height)
    let shelf = MemoryShelf()
    let image = MemoryStorage(name: "/images/sub/disk.qcow2")
    try Image.create(on: image, Image.CreateOptions(size: 5 << 20))
    shelf.images["/images/sub/disk.qcow2"] = image
    shelf.images["/images/old.raw"] = MemoryStorage(name: "/images/old.raw")
    shelf.folders["/"] = [FolderEntry("images", isFolder: true), FolderEntry("etc", isFolder: true)]
    shelf.folders["/images/"] = [
      FolderEntry("old.raw", isFolder: false), FolderEntry("sub", isFolder: true),
      FolderEntry("\u{1b}[31mred\u{202e}", isFolder: false), FolderEntry(".hidden", isFolder: false),
      FolderEntry("locked", isFolder: true),
    ]
    shelf.folders["/images/sub/"] = [FolderEntry("disk.qcow2", isFolder: false)]
    explorer.shelf = shelf
    return (explorer, shelf)
  }

  private func play(_ keys: String, _ explorer: Explorer) throws { try ScriptRunner.run(keys, on: explorer) }
  /// Keys of which the last one is answered by an error, which is returned.
  private func refusal(_ keys: String, _ explorer: Explorer) -> String {
    do throws(ScriptError) { try ScriptRunner.run(keys, on: explorer) } catch { return error.message }
    return ""
  }
  private func shown(_ explorer: Explorer) -> String { explorer.canvas().text() }

  // MARK: Files

  @Test func folders() throws {
    let (explorer, _) = try start()
    try play("C-o", explorer)
    let text = shown(explorer)
    #expect(text.contains("Open  /images/") && text.contains("sub/") && text.contains("old.raw"))
    #expect(text.contains("\\x1b[31mred") && !text.contains("\u{1b}") && !text.contains("\u{202e}"))
    #expect(!text.contains(".hidden"))
    // Folders first, in order; the first one is selected.
    try play("Down Enter", explorer)
    #expect(shown(explorer).contains("Open  /images/sub/") && shown(explorer).contains("qcow2"))
    try play("Backspace", explorer)
    #expect(shown(explorer).contains("Open  /images/ "))
    try play("Backspace", explorer)
    #expect(shown(explorer).contains("Open  / ") && shown(explorer).contains("etc/"))
    // At the top there is no folder above.
    try play("Backspace Esc", explorer)
    #expect(!explorer.isInDialog && explorer.session.title == "demo")
  }

  @Test func typingPicksOut() throws {
    let (explorer, shelf) = try start()
    try play("C-o\ntype OLD", explorer)
    let text = shown(explorer)
    #expect(text.contains("old.raw") && !text.contains("sub/") && text.contains("1 of 5"))
    try play("Backspace", explorer)
    #expect(shown(explorer).contains("OL "))
    try play("Backspace Backspace\ntype .h", explorer)
    #expect(shown(explorer).contains(".hidden"))
    try play("Backspace Backspace\ntype nothing", explorer)
    #expect(shown(explorer).contains("no name holds that"))
    try play("Enter", explorer)
    #expect(explorer.isInDialog)
    #expect(
      Set(shelf.looked).isSubset(of: ["/images/old.raw", "/images/\u{1b}[31mred\u{202e}", "/images/.hidden"]))
  }

  @Test func opensWhatIsChosen() throws {
    let (explorer, _) = try start()
    try play(":write 0 4k\nC-o\nDown Enter Enter", explorer)
    settle(explorer)
    #expect(explorer.session.title == "disk.qcow2" && explorer.session.geometry.virtualSize == 5 << 20)
    #expect(explorer.message?.contains("opened disk.qcow2") == true && !explorer.messageIsError)
    #expect(explorer.session.generation == 0 && explorer.screen == .explorer)
    // Changes of an image with a file are not lost for it.
    try play(":write 0 4k", explorer)
    #expect(refusal(":open /images/old.raw", explorer).contains(":open! drops them"))
    #expect(explorer.session.title == "disk.qcow2")
    #expect(refusal(":open! /images/none", explorer).contains("No such file"))
    #expect(explorer.session.title == "disk.qcow2")
    try play(":open! /images/sub/disk.qcow2", explorer)
    #expect(explorer.session.generation == 0)
    // It is read again as it was opened.
    try play(":reload", explorer)
    #expect(explorer.session.title == "disk.qcow2")
  }

  @Test("an image without a header leads to what is left of it")
  func brokenHeader() throws {
    let (explorer, shelf) = try start()
    let broken = try #require(shelf.images["/images/sub/disk.qcow2"])
    var options = Image.Options()
    options.writable = true
    let image = try Image(broken, options: options)
    let bytes = [UInt8](repeating: 7, count: 1 << 20)
    try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(0)) }
    try image.close()
    try broken.write([0, 0, 0, 0], at: 0)
    let error = refusal(":open! /images/sub/disk.qcow2", explorer)
    #expect(error.contains("not in qcow2 format"), "\(error)")
    #expect(error.contains(":open --salvage /images/sub/disk.qcow2 looks for what is left"), "\(error)")
    #expect(explorer.session.title == "demo")
    try play(":open! --salvage /images/sub/disk.qcow2", explorer)
    #expect(explorer.session.title == "disk.qcow2" && explorer.session.salvaged != nil)
    #expect(refusal(":open! --salvage", explorer).contains("needs FILE"))
  }

  @Test("what is not possible is not offered")
  func notPossible() throws {
    let (explorer, _) = try start()
    try play("w", explorer)
    #expect(shown(explorer).contains("do it") && shown(explorer).contains("What would happen"))
    try play("Tab\nx", explorer)
    #expect(shown(explorer).contains("Not possible"), "\(shown(explorer))")
    #expect(!shown(explorer).contains("do it"))
    #expect(shown(explorer).contains("cancel"))
  }

  @Test func closedFolder() throws {
    let (explorer, _) = try start()
    #expect(refusal("C-o\ntype locked\nEnter", explorer).contains("Permission"))
    #expect(explorer.isInDialog)
  }

  /// What a folder of any size costs: names, and a look at the files on the screen.
  @Test func largeFolder() throws {
    let (explorer, shelf) = try start()
    shelf.folders["/images/"] = (0..<50_000).map { FolderEntry("disk-\($0).qcow2", isFolder: false) }
    try play("C-o", explorer)
    #expect(shown(explorer).contains("20000 of 20000, there are more"))
    #expect(shelf.looked.count <= explorer.canvas().height)
    try play("End", explorer)
    _ = shown(explorer)
    #expect(shelf.looked.count <= 2 * explorer.canvas().height)
  }

  @Test(arguments: [(40, 12), (60, 15), (80, 24), (120, 40), (200, 60)])
  func bothFitEverySize(_ width: Int, _ height: Int) throws {
    let (explorer, _) = try start(width: width, height: height)
    try play("C-o", explorer)
    #expect(shown(explorer).contains("Open  /images/"))
    try play("Esc\n:new x.qcow2", explorer)
    for _ in 0..<14 {
      try play("Tab", explorer)
      #expect(shown(explorer).contains("A new image"))
      // The option that keys change is on the screen.
      #expect(explorer.canvas().cursor != nil)
    }
  }

  // MARK: A new image

  @Test func sentencesAreThoseOfTheMeasure() throws {
    let (explorer, _) = try start()
    try play(":new a.qcow2", explorer)
    var options = Image.CreateOptions(size: 10 << 30)
    let measure = try Measure(options, size: ByteCount(options.size))
    var text = shown(explorer)
    #expect(text.contains("\(Notation.compact(measure.required)) at most while it is empty"))
    #expect(text.contains("an L2 table covers 512M; the first byte takes 64K"))
    try play("Tab Right Tab Right Tab Tab Right Right", explorer)
    text = shown(explorer)
    options.clusterSize = 128 << 10
    options.extendedL2 = true
    options.preallocation = .falloc
    let other = try Measure(options, size: ByteCount(options.size))
    #expect(text.contains("an L2 table covers 1G; the first byte takes 4K"))
    #expect(text.contains("\(Notation.compact(other.fullyAllocated)) are taken from the host now"))
    #expect(text.contains("each of 32 subclusters of 4K"))
  }

  @Test func everyOptionReachesTheImage() throws {
    let (explorer, shelf) = try start()
    // Cluster size, extended L2, no version, metadata, contiguous, pinned; then the backing file.
    let told = refusal(
      ":new b.qcow2\nC-u\nTab Right Tab Right Tab Tab Right Tab Right Tab Right Tab Tab\ntype base.qcow2\nTab Enter",
      explorer)
    // The image is open, and its backing file is nowhere in this test.
    #expect(told.contains("backing file, which is not open"))
    let options = try #require(shelf.made["b.qcow2"]).options
    // No size was left: that of the backing file holds.
    #expect(options.size == 3 << 20 && options.clusterSize == 128 << 10 && options.extendedL2)
    #expect(options.preallocation == .metadata && options.contiguous && options.pinned)
    #expect(options.backingFile == "base.qcow2" && options.backingFormat == "qcow2" && options.version == 3)
    #expect(explorer.session.title == "b.qcow2")
  }

  @Test func whatCannotBeIsSaidAtOnce() throws {
    let (explorer, shelf) = try start()
    // Extended L2 with the old version.
    try play(":new c.qcow2\nTab Tab Right Tab Right", explorer)
    #expect(shown(explorer).contains("Extended L2 entries are only supported"))
    #expect(refusal("Enter", explorer).contains("Extended L2"))
    #expect(explorer.isInDialog && shelf.made.isEmpty)
    try play("Left\nTab Tab Right", explorer)
    #expect(shown(explorer).contains("contiguous=on maps every cluster in advance"))
    try play("Esc", explorer)
    #expect(!explorer.isInDialog && explorer.message == "given up; no file was made")
  }

  @Test func aFileThatIsThereIsAskedAbout() throws {
    let (explorer, shelf) = try start()
    shelf.images["old.raw"] = MemoryStorage(name: "old.raw")
    try play(":new old.raw\nEnter", explorer)
    #expect(shown(explorer).contains("'old.raw' is there: 0, raw. What it holds would be lost."))
    // Enter once more is no answer.
    try play("Enter", explorer)
    #expect(explorer.isInDialog && shelf.made.isEmpty && !shown(explorer).contains("would be lost"))
    try play("Enter y", explorer)
    #expect(shelf.made["old.raw"] != nil && explorer.session.title == "old.raw")
  }

  @Test func encryption() throws {
    let (explorer, shelf) = try start()
    let toEncryption = String(repeating: "Tab ", count: 9)
    let first = refusal(":new k.qcow2\n\(toEncryption)Right Enter", explorer)
    #expect(explorer.isInDialog && first == "the encryption needs a passphrase")
    let second = refusal("Tab\ntype geheim\nTab\ntype gehelm\nEnter", explorer)
    #expect(second == "the passphrases differ; type the same one in both places")
    #expect(!shown(explorer).contains("geheim") && shown(explorer).contains("******"))
    // The old method costs no time to stretch the passphrase.
    try play("C-u\ntype geheim\nS-Tab S-Tab Right Enter", explorer)
    #expect(shelf.made["k.qcow2"]?.options.encryption?.method == .aes, "\(explorer.message ?? "")")
    #expect(explorer.session.image.isUnlocked)
  }

  @Test func withoutShelf() throws {
    let explorer = try demoExplorer()
    #expect(refusal(":open", explorer) == "no other image can be opened here")
    #expect(refusal(":new", explorer) == "no image can be made here")
  }
}
