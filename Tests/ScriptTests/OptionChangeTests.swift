// Persistent bitmaps and options of the image by commands of the explorer: one step of undo each, saved as the
// genuine tool would have left the file, refused in plain words.

import Cartography
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct OptionChangeTests {
  /// An image with two bitmaps and some data.
  private func folder(_ options: String = "cluster_size=4k", bitmaps: Bool = true) throws -> ImageFolder {
    let folder = try ImageFolder(options: options)
    if bitmaps {
      try folder.image(["bitmap", "--add", folder.path, "b0"])
      try folder.image(["bitmap", "--add", "--disable", "-g", "64k", folder.path, "off"])
    }
    try folder.io(["-c", "write -P 3 0 300k", "-c", "write -z 1M 64k"])
    return folder
  }

  @Test(
    "what is saved is what the genuine tool leaves",
    arguments: [
      [":bitmap-add n", "bitmap --add FILE n"], [":bitmap-add --disable n", "bitmap --add --disable FILE n"],
      [":bitmap-remove b0", "bitmap --remove FILE b0"], [":bitmap-clear b0", "bitmap --clear FILE b0"],
      [":bitmap-disable b0", "bitmap --disable FILE b0"], [":bitmap-enable off", "bitmap --enable FILE off"],
      [":bitmap-merge b0 off", "bitmap --merge b0 FILE off"],
      [":amend refcount_bits=64,size=64M", "amend -o refcount_bits=64,size=64M FILE"],
      [":amend lazy_refcounts=on,size=64M", "amend -o lazy_refcounts=on,size=64M FILE"],
    ])
  func saved(_ pair: [String]) throws {
    let folder = try folder()
    let genuine = folder.folder.path("genuine.qcow2")
    try FileManager.default.copyItem(atPath: folder.path, toPath: genuine)
    try folder.image(pair[1].split(separator: " ").map { $0 == "FILE" ? genuine : String($0) })
    let explorer = try folder.explorer()
    try ScriptRunner.run(pair[0] + "\n:w", on: explorer)
    #expect(!explorer.messageIsError, "\(explorer.message ?? "")")
    #expect(try firstDifference(folder.path, genuine) == nil, "\(pair[0])")
  }

  @Test("changes go back and forth byte for byte, and the maps follow", arguments: [true, false])
  func history(_ hasBitmaps: Bool) throws {
    let explorer = try folder(bitmaps: hasBitmaps).explorer()
    let lines =
      hasBitmaps
      ? [
        ":bitmap-add n", ":write -P 5 2M 64k", ":bitmap-merge n off", ":bitmap-disable n",
        ":amend refcount_bits=8",
        ":write -P 6 3M 64k", ":bitmap-clear b0", ":bitmap-remove n", ":bitmap-enable off",
        ":bitmap-remove b0",
        ":bitmap-remove off",
      ]
      : [
        ":bitmap-add n", ":bitmap-remove n", ":amend refcount_bits=32,lazy_refcounts=on",
        ":write -P 5 2M 64k",
        ":amend refcount_bits=16,compat=0.10", ":write -P 6 3M 64k", ":amend compat=1.1,size=64M",
        ":amend --shrink size=8M",
      ]
    var states = [try explorer.shownBytes()]
    for line in lines {
      let generation = explorer.session.generation
      try ScriptRunner.run(line, on: explorer)
      #expect(!explorer.messageIsError, "\(line): \(explorer.message ?? "")")
      #expect(explorer.session.generation == generation + 1, "\(line)")
      states.append(try explorer.shownBytes())
      let fresh = Atlas(explorer.session.image)
      fresh.scanAll()
      #expect(explorer.session.atlas.totals == fresh.totals, "\(line)")
    }
    try expectHistory(states, of: explorer)
  }

  @Test("refusals are plain sentences and change nothing")
  func refusals() throws {
    let folder = try folder()
    try folder.image(["snapshot", "-c", "one", folder.path])
    let explorer = try folder.explorer()
    for (line, words) in [
      (":snapshot-apply one", "remove 'b0', 'off' first, with bitmap-remove"),
      (":bitmap-add b0", "there is a bitmap 'b0' already"),
      (":bitmap-remove none", "no bitmap is called 'none'; there are 'b0', 'off'"),
      (":bitmap-merge none b0", "no bitmap is called 'none'"),
      (":amend size=1M", "--shrink allows it"), (":amend refcount_bits=3", "must be a power of two"),
      (":amend nothing=1", "'nothing' cannot be changed; there are backing_file"),
      (":amend size", "has no value"),
      (":amend compat=0.10", "which would be lost: 'b0', 'off'"),
      (":amend backing_file=x", "Cannot amend the backing file"),
    ] {
      #expect(throws: ScriptError.self, "\(line)") { try ScriptRunner.run(line, on: explorer) }
      #expect(explorer.message?.contains(words) == true, "\(line): \(explorer.message ?? "")")
    }
    #expect(explorer.session.generation == 0)
  }
}
