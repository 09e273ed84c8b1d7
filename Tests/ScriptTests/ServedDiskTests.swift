// A disk that guests use while the explorer looks: the maps follow, counts are exact, the file has what guests were
// answered, and a request that is held up changes nothing until it is let go.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Live
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct ServedDiskTests {
  /// A host without sockets: the test is the client.
  private final class NoServer: DiskServer {
    func start(_ disk: SharedDisk, title: String, socket: String?) throws(ServerError) -> String {
      "nbd://test"
    }
    func stop() {}
    var clients: Int { 1 }
  }

  private static func serve(_ folder: ImageFolder, _ mode: Session.Mode = .readWrite) throws -> Explorer {
    let explorer = try folder.explorer(mode)
    explorer.server = NoServer()
    _ = explorer.performLine("serve")
    #expect(explorer.guests.areServed, "\(explorer.message ?? "")")
    return explorer
  }

  private static func follow(_ explorer: Explorer) {
    while explorer.guests.follow(budgetNanoseconds: 100_000_000) {
      guard explorer.session.live?.gate.held == nil else { return }
    }
  }

  /// A client on a thread of its own, as the server has them.
  private final class Guest: @unchecked Sendable {
    private let disk: SharedDisk
    private let thread = DispatchQueue(label: "guest")
    private let lock = NSLock()
    private var answers: [String] = []

    init(_ disk: SharedDisk) { self.disk = disk }

    func write(_ byte: UInt8, at offset: UInt64, count: Int) {
      thread.async { [self] in
        let bytes = [UInt8](repeating: byte, count: count)
        var failure: ImageError?
        unsafe bytes.withUnsafeBytes { buffer in
          do throws(ImageError) {
            try disk.locked(by: 1) { held throws(ImageError) in try held.write(buffer, at: offset) }
          } catch { failure = error }
        }
        lock.withLock { answers.append(failure?.description ?? "written") }
      }
    }

    func discard(at offset: UInt64, count: UInt64) {
      thread.async { [self] in
        let failure: ImageError?
        do throws(ImageError) {
          try disk.locked(by: 1) { held throws(ImageError) in try held.discard(at: offset, count: count) }
          failure = nil
        } catch { failure = error }
        lock.withLock { answers.append(failure?.description ?? "discarded") }
      }
    }

    var answered: [String] { lock.withLock { answers } }

    func wait(for count: Int) { Deadline(30).wait { answered.count >= count } }
  }

  /// Until a request is held up, which the explorer hears of.
  private static func waitForHold(_ explorer: Explorer) {
    Deadline(30).wait { explorer.guests.exclusively { explorer.session.live?.gate.held != nil } }
    explorer.guests.exclusively { _ = explorer.guests.follow(budgetNanoseconds: 1_000_000) }
  }

  @Test("whatever guests do, the maps are those of a fresh look, and the counts are exact")
  func mapsFollow() throws {
    for (seed, options) in [
      (1, "cluster_size=4k"), (2, "cluster_size=64k,extended_l2=on"), (3, "cluster_size=512"),
      (4, "cluster_size=4k,refcount_bits=1"),
    ] {
      let folder = try ImageFolder(options: options)
      let explorer = try Self.serve(folder)
      let session = explorer.session
      let live = try #require(session.live)
      var random = SplitMix64(seed: UInt64(seed))
      let size = session.geometry.virtualSize
      var asked = RequestCounts()
      let scans = session.atlas.scans
      for round in 0..<12 {
        for _ in 0..<Int(random.next() % 60) {
          let offset = random.next() % (size / 512) * 512
          let length = min(size - offset, (1 + random.next() % 200) * 512)
          try live.shared.locked(by: 1) { disk throws(ImageError) in
            switch random.next() % 6 {
            case 0:
              try disk.discard(at: offset, count: length)
              asked.discards += 1
            case 1:
              try disk.writeZeroes(at: offset, count: length, mayUnmap: random.next() % 2 == 0)
              asked.zeroWrites += 1
            case 2:
              try disk.flush()
              asked.flushes += 1
            default:
              let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: Int(length))
              var failure: ImageError?
              unsafe bytes.withUnsafeBytes { buffer in
                do throws(ImageError) { try disk.write(buffer, at: offset) } catch { failure = error }
              }
              if let failure { throw failure }
              asked.writes += 1
              asked.bytesWritten += length
            }
          }
        }
        // Often with tables that the file does not have yet.
        Self.follow(explorer)
        let fresh = Atlas(session.image)
        fresh.scanAll()
        let atlas = session.atlas
        let label = "\(options), round \(round)"
        #expect(atlas.isDone && atlas.partsBehind == 0, "\(label)")
        let guests = Int(session.geometry.clusterCount)
        let same =
          fresh.guestCells(first: 0, cellClustersLog2: 0, count: guests)
          == atlas.guestCells(first: 0, cellClustersLog2: 0, count: guests)
        #expect(same, "\(label)")
        #expect(fresh.totals == atlas.totals, "\(label)")
      }
      #expect(live.shared.counts == asked)
      #expect(session.atlas.scans == scans, "\(options): counted anew instead of followed")
      explorer.guests.haveLeft()
      #expect(!explorer.guests.areServed)
      let verdict = try folder.check()
      #expect(verdict.contains("No errors were found"), "\(options): \(verdict)")
    }
  }

  @Test("what guests write to a scratch disk is shown, and the file stays as it is")
  func scratch() throws {
    let folder = try ImageFolder()
    let before = try Data(contentsOf: URL(fileURLWithPath: folder.path))
    let explorer = try Self.serve(folder, .scratch)
    let guest = Guest(try #require(explorer.session.live).shared)
    guest.write(0x5a, at: 4 << 20, count: 200_000)
    guest.wait(for: 1)
    // Nobody leaves the image behind while guests use it, and nothing that they wrote goes unasked.
    for line in ["reload", "reload!", "lesson cluster", "write 0 4k", "w", "q"] {
      _ = explorer.guests.exclusively { explorer.performLine(line) }
      #expect(explorer.messageIsError, "\(line): \(explorer.message ?? "")")
      #expect(explorer.guests.areServed)
    }
    explorer.guests.haveLeft()
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path)) == before)
    #expect(try explorer.picture(":read -P 0x5a 4M 200000\n").contains("0x5a"))
    #expect(explorer.session.hasUnsavedChanges)
    #expect(throws: ImageError.self) { try explorer.session.save() }
  }

  @Test("a write that copies is held up, tried, looked at, taken back, and done once when it is let go")
  func held() throws {
    let folder = try ImageFolder()
    try folder.io(["-c", "write -q -P 9 8M 2M"])
    try folder.image(["snapshot", "-c", "before", folder.path])
    let explorer = try Self.serve(folder)
    let session = explorer.session
    let live = try #require(session.live)
    let guest = Guest(live.shared)
    _ = explorer.performLine("break copy")
    // Around these bytes the new cluster is zeroes, and nothing is copied.
    guest.write(1, at: 0xb00200, count: 512)
    guest.wait(for: 1)
    #expect(guest.answered == ["written"])
    let before = try Data(contentsOf: URL(fileURLWithPath: folder.path))
    guest.write(2, at: 0x800000 + 512, count: 512)
    Self.waitForHold(explorer)
    #expect(live.gate.held?.reason == .copies)
    #expect(explorer.screen == .live)
    #expect(explorer.canvas().text().contains("write 0x800200 +512"))
    #expect(explorer.canvas().text().contains("63.5K copied from 0x90000"))
    explorer.guests.exclusively {
      _ = explorer.performLine("try")
      #expect(session.done.count == 1)
      #expect(session.story(of: 0) != nil)
      _ = explorer.performLine("undo")
      #expect(session.done.isEmpty)
      #expect(live.gate.held?.isDone == false)
      _ = explorer.performLine("redo")
      #expect(live.gate.held?.isDone == true)
    }
    #expect(guest.answered == ["written"])
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path)) == before, "the file has something of it")
    explorer.guests.exclusively { _ = explorer.performLine("continue") }
    guest.wait(for: 2)
    #expect(guest.answered == ["written", "written"])
    #expect(session.done.isEmpty)
    // The next one, taken back before it goes.
    guest.write(3, at: 0x900000 + 512, count: 512)
    Self.waitForHold(explorer)
    explorer.guests.exclusively {
      _ = explorer.performLine("try")
      _ = explorer.performLine("undo")
      _ = explorer.performLine("continue all")
    }
    guest.wait(for: 3)
    #expect(guest.answered.last == "written")
    explorer.guests.exclusively { Self.follow(explorer) }
    explorer.guests.haveLeft()
    #expect(try folder.check().contains("No errors were found"))
    for (offset, byte) in [(0x800200, 2), (0x900200, 3)] {
      #expect(try explorer.picture(":read -P \(byte) \(offset) 512\n").contains("0x0\(byte)"))
    }
  }

  @Test("zeroes around the bytes of a guest are no copies, and what a snapshot keeps is one")
  func copies() throws {
    let folder = try ImageFolder()
    try folder.io(["-c", "write -q -P 9 8M 64k"])
    try folder.image(["snapshot", "-c", "before", folder.path])
    let explorer = try Self.serve(folder)
    let live = try #require(explorer.session.live)
    let guest = Guest(live.shared)
    func figures() -> LiveFigures {
      explorer.guests.exclusively {
        Self.follow(explorer)
        return live.figures
      }
    }
    guest.write(1, at: 0x900200, count: 512)
    guest.wait(for: 1)
    let zeroed = figures()
    #expect(zeroed.guestBytes == 512 && zeroed.zeroedBytes == 65536)
    #expect(zeroed.copiedBytes == 0 && zeroed.copies == 0)
    guest.write(2, at: 0x800000, count: 512)
    guest.wait(for: 2)
    let copied = figures()
    #expect(copied.guestBytes == 1024 && copied.zeroedBytes == 65536)
    #expect(copied.copiedBytes == 65536 - 512 && copied.copies == 1)
    explorer.guests.haveLeft()
  }

  @Test("each breakpoint stops what it is for, and nothing else", arguments: 0..<6)
  func breakpoints(_ index: Int) throws {
    let (line, harmless, stopped): (String, (Guest) -> Void, (Guest) -> Void) = [
      ("next", { _ in }, { $0.write(1, at: 0, count: 512) }),
      ("table", { $0.write(1, at: 0, count: 512) }, { $0.write(1, at: 3 << 20, count: 512) }),
      (
        "guest 1M 64k", { $0.write(1, at: 2 << 20, count: 512) },
        { $0.write(1, at: (1 << 20) + 512, count: 512) }
      ),
      ("host 0 1G", { _ in }, { $0.write(1, at: 0, count: 512) }),
      ("rounded", { $0.discard(at: 0, count: 65536) }, { $0.discard(at: 512, count: 65536) }),
      ("refcounts", { $0.write(1, at: 0, count: 512) }, { $0.write(1, at: 0, count: 2 << 20) }),
    ][index]
    let folder = try ImageFolder(
      options: line == "refcounts"
        ? "cluster_size=512,refcount_bits=64" : line == "table" ? "cluster_size=4k" : "")
    let explorer = try Self.serve(folder)
    let live = try #require(explorer.session.live)
    let guest = Guest(live.shared)
    _ = explorer.performLine("break \(line)")
    #expect(!explorer.messageIsError, "\(explorer.message ?? "")")
    harmless(guest)
    guest.wait(for: [0, 1, 1, 0, 1, 1][index])
    #expect(explorer.guests.exclusively { live.gate.held == nil })
    let before = guest.answered.count
    stopped(guest)
    Self.waitForHold(explorer)
    #expect(live.gate.held != nil)
    #expect(guest.answered.count == before)
    explorer.guests.exclusively { _ = explorer.performLine("continue all") }
    guest.wait(for: before + 1)
    #expect(guest.answered.count == before + 1)
    explorer.guests.haveLeft()
    #expect(try folder.check().contains("No errors were found"))
  }

  @Test("an explorer that looks leaves the bytes that one leaves who does not look")
  func sameBytes() throws {
    func play(_ looks: Bool, _ breaks: Bool) throws -> [UInt8] {
      let folder = try ImageFolder(options: "cluster_size=4k")
      let explorer = try Self.serve(folder)
      let live = try #require(explorer.session.live)
      if breaks { _ = explorer.performLine("break guest 0xff0000 1") }
      var random = SplitMix64(seed: 9)
      for _ in 0..<300 {
        let offset = random.next() % (15 << 11) * 512
        let length = Int(1 + random.next() % 64) * 512
        let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: length)
        try live.shared.locked(by: 1) { disk throws(ImageError) in
          var failure: ImageError?
          unsafe bytes.withUnsafeBytes { buffer in
            do throws(ImageError) { try disk.write(buffer, at: offset) } catch { failure = error }
          }
          if let failure { throw failure }
        }
        if looks { _ = explorer.guests.follow(budgetNanoseconds: 1_000_000) }
      }
      explorer.guests.haveLeft()
      return [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path)))
    }
    let plain = try play(false, false)
    #expect(try play(true, false) == plain)
    #expect(try play(true, true) == plain)
  }
}

extension ImageFolder {
  /// What the genuine tool says of the image.
  fileprivate func check() throws -> String {
    try run(try requireTool("qemu-img"), ["check", "-f", "qcow2", path]).stdout
  }
}
