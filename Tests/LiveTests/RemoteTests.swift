// Disks behind servers that keep to the rules, and behind servers that do not: what is read is what is there, and nothing
// that a server sends ends or holds up the program.

import EngineSupport
import Foundation
import Live
import Nbd
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("Behind a server", .tags(.fast)) struct RemoteTests {
  private func open(_ server: ScriptedServer, patience: Int32 = 20_000) throws -> RemoteStorage {
    try RemoteStorage(try NbdAddress(server.uri), patience: patience)
  }

  /// The bytes of an image with every `step`th MiB of its disk in use.
  private func image(size: UInt64, step: UInt64, clusterSize: UInt64 = 65536) throws -> [UInt8] {
    let storage = MemoryStorage()
    var create = Image.CreateOptions(size: size)
    create.clusterSize = clusterSize
    try Image.create(on: storage, create)
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    let image = try Image(storage, options: options)
    var at: UInt64 = 0
    while at < size {
      try [UInt8(truncatingIfNeeded: at >> 20 | 1)].withUnsafeBytes {
        try image.write($0, at: GuestOffset(at))
      }
      at += step
    }
    try image.close()
    return try storage.bytes(at: 0, count: Int(storage.length))
  }

  @Test(
    "any ranges are as they are on the other side, whatever the server can and in whatever order it answers",
    arguments: [(true, true), (true, false), (false, false)])
  func ranges(isStructured: Bool, shuffles: Bool) throws {
    var random = SplitMix64(seed: 3)
    var bytes = randomBytes(3_000_001, &random)
    for index in 500_000..<1_500_000 { bytes[index] = 0 }
    let server = try ScriptedServer(
      bytes, .init(isStructured: isStructured, tellsStates: isStructured, shuffles: shuffles))
    let remote = try open(server)
    #expect(remote.length == UInt64(bytes.count) && !remote.isWritable)
    for _ in 0..<200 {
      let offset = random.below(UInt64(bytes.count) + 9000)
      let count = Int(random.below(random.below(4) == 0 ? 900_000 : 9000))
      if random.below(3) == 0 { remote.willRead(at: random.below(3_000_000), count: random.below(300_000)) }
      let expected = (0..<count).map { index -> UInt8 in
        let at = Int(offset) + index
        return at < bytes.count ? bytes[at] : 0
      }
      #expect(try remote.bytes(at: offset, count: count) == expected)
    }
    #expect(server.counts.bytes <= UInt64(bytes.count) + 4096)
    if isStructured {
      #expect(remote.extent(at: 600_000).isHole && remote.extent(at: 600_000).isKnown)
      #expect(remote.extent(at: 600_000).end == 1_499_136)
      #expect(remote.allocatedBytes == 3_000_001 - (1_499_136 - 503_808))
    } else {
      #expect(!remote.extent(at: 600_000).isKnown && remote.allocatedBytes == 3_000_001)
    }
    #expect(throws: StorageError.self) { try remote.write([1], at: 0) }
  }

  @Test("the first map takes as many round trips as its tables are for 40 at a time, and moves nothing else")
  func roundTrips() throws {
    // Small clusters have many tables.
    let bytes = try image(size: 1 << 30, step: 1 << 21, clusterSize: 4096)
    let server = try ScriptedServer(bytes)
    let remote = try open(server)
    let image = try Image(remote)
    #expect(server.counts.rounds <= 3)
    let before = server.counts
    var walk = ChainWalk([image])
    var data: UInt64 = 0
    try walk.each(from: 0, to: image.virtualSize) { (extent, _) throws(ImageError) in
      if extent.isData { data += extent.length }
    }
    #expect(data == 512 * 4096)
    let after = server.counts
    // Neighbours are asked for together.
    #expect(after.most > 8 && after.most <= 40, "\(after.most) at a time, \(after.requests) in all")
    #expect(after.rounds - before.rounds <= 512 / 40 + 24, "\(after.rounds - before.rounds) round trips")
    #expect(after.bytes - before.bytes <= 512 * 4096 * 105 / 100)
    // What has come once is not asked for again.
    try walk.each(from: 0, to: image.virtualSize) { (_, _) throws(ImageError) in }
    #expect(server.counts.bytes == after.bytes)
  }

  @Test("a check of what lies behind a server finds what it finds in the same bytes here")
  func check() throws {
    var bytes = try image(size: 64 << 20, step: 1 << 20)
    // An entry leads behind the end, and a refcount is wrong.
    let local = MemoryStorage()
    try local.write(bytes, at: 0)
    let table = try Image(local).l1Entry(0).table?.value ?? 0
    bytes[Int(table) + 2] = 7
    try local.write(bytes, at: 0)
    let server = try ScriptedServer(bytes)
    let remote = try open(server)
    var found: [[CheckFinding]] = [[], []]
    let results = try [local as any Storage, remote].enumerated().map { number, storage in
      try ImageCheck(storage) { found[number].append($0) }.run()
    }
    #expect(!found[0].isEmpty && found[0].count == found[1].count)
    #expect("\(results[0])" == "\(results[1])")
  }

  @Test("what the server refuses is an error with the address and the place, and the rest can be read")
  func refusals() throws {
    let bytes = [UInt8](repeating: 5, count: 1 << 20)
    for isStructured in [true, false] {
      let server = try ScriptedServer(
        bytes, .init(isStructured: isStructured, refused: 500_000..<500_001))
      let remote = try open(server)
      let error = #expect(throws: StorageError.self) { try remote.bytes(at: 499_712, count: 4096) }
      #expect(error?.name == remote.name && error?.offset == 499_712 && error?.errno == EIO)
      #expect(try remote.bytes(at: 0, count: 4096) == Array(repeating: 5, count: 4096))
      // A hint that failed is asked for again by whoever needs a part of it.
      remote.willRead(at: 400_000, count: 200_000)
      #expect(try remote.bytes(at: 410_000, count: 4096) == Array(repeating: 5, count: 4096))
    }
  }

  @Test(
    "a server that dies or falls silent in the middle is said to, at once or after its time",
    arguments: [true, false])
  func death(fallsSilent: Bool) throws {
    let bytes = [UInt8](repeating: 5, count: 8 << 20)
    let server = try ScriptedServer(bytes, .init(lastRequest: 3, fallsSilent: fallsSilent))
    let remote = try open(server, patience: 400)
    let error = #expect(throws: StorageError.self) {
      for at in 0..<8 { _ = try remote.bytes(at: UInt64(at) << 20, count: 4096) }
    }
    #expect(
      error?.detail.contains(fallsSilent ? "silent" : "closed the connection") == true, "\(error as Any)")
    // What had come stays, and the rest fails without waiting.
    #expect(try remote.bytes(at: 0, count: 4096) == Array(repeating: 5, count: 4096))
    #expect(throws: StorageError.self) { try remote.bytes(at: 7 << 20, count: 4096) }
    #expect(remote.isReady(at: 6 << 20, count: 4096))
  }

  @Test("our own server and our own client understand each other")
  func ownServer() throws {
    let served = try ServedImage(ServedImage.options(size: 4 << 20), name: "a b")
    #expect(try served.client().begin().size == 4 << 20)
    let writer = try served.client()
    try writer.begin()
    #expect(try writer.ask(1, 5 << 18, 3, [1, 2, 3]).error == 0)
    let address = try NbdAddress("nbd+unix:///a%20b?socket=\(served.path)")
    let remote = try RemoteStorage(address)
    #expect(try remote.bytes(at: 5 << 18, count: 4) == [1, 2, 3, 0])
    #expect(remote.extent(at: 0).isHole && !remote.extent(at: 5 << 18).isHole)
    #expect(throws: StorageError.self) {
      try RemoteStorage(try NbdAddress("nbd+unix:///c?socket=\(served.path)"))
    }
  }
}

@Suite("Hostile servers", .tags(.campaign)) struct HostileServerTests {
  /// How many connections; `QATLAS_NBD_SERVERS` asks for more.
  static let connections = Int(ProcessInfo.processInfo.environment["QATLAS_NBD_SERVERS"] ?? "") ?? 2000

  @Test("seeded answers with wrong bytes, lengths and ends: no trap and no waiting")
  func seeded() throws {
    var random = SplitMix64(seed: 15)
    let storage = MemoryStorage()
    try Image.create(on: storage, Image.CreateOptions(size: 1 << 30))
    let bytes = try storage.bytes(at: 0, count: Int(storage.length))
    var opened = 0
    var failed = 0
    let many = 50
    for seed in 0..<UInt64(max(1, Self.connections / many)) {
      let rate = 2 + random.below(60)
      var manner = ScriptedServer.Manner()
      manner.isStructured = seed % 4 != 0
      manner.seed = seed
      manner.mangle = { message, random in
        guard random.below(rate) == 0 else { return message }
        var message = message
        switch random.below(5) {
        case 0: return nil
        case 1: message.removeLast(Int(random.below(UInt64(message.count + 1))))
        case 2: message += randomBytes(Int(random.below(40)), &random)
        case 3: message = randomBytes(Int(random.below(300)), &random)
        default:
          for _ in 0...random.below(4) where !message.isEmpty {
            message[Int(random.below(UInt64(min(message.count, 40))))] = UInt8(random.below(256))
          }
        }
        return message
      }
      let server = try ScriptedServer(bytes, manner)
      let address = try NbdAddress(server.uri)
      for _ in 0..<many {
        // A server that waits for what it took for a request is silent.
        do {
          let remote = try RemoteStorage(address, patience: 60)
          opened += 1
          for _ in 0..<4 {
            _ = try remote.bytes(at: random.below(400_000), count: Int(random.below(70_000)))
            let extent = remote.extent(at: random.below(UInt64(bytes.count)))
            #expect(!extent.isKnown || extent.end > 0)
          }
          _ = remote.allocatedBytes
          _ = try Image(remote)
        } catch is StorageError { failed += 1 } catch is ImageError { failed += 1 }
      }
      server.stop()
    }
    #expect(opened > 0 && failed > 0)
  }
}

@Suite("Addresses of exports", .tags(.fast)) struct NbdAddressTests {
  @Test(
    "texts that are addresses, as they are shown",
    arguments: [
      ("nbd://host/", "nbd://host/"), ("nbd://host", "nbd://host/"), ("nbd://host:10809/a", "nbd://host/a"),
      ("nbd://1.2.3.4:99/a/b", "nbd://1.2.3.4:99/a/b"), ("nbd://[::1]:7/", "nbd://[::1]:7/"),
      ("nbd+unix:///?socket=/run/s", "nbd+unix:///?socket=/run/s"),
      ("nbd+unix:///a%20b?socket=rel%0a", "nbd+unix:///a%20b?socket=rel%0a"),
      ("nbd://h/a\u{1b}[31m", "nbd://h/a%1b%5b31m"), ("nbd://h/%E2%80%AE", "nbd://h/%e2%80%ae"),
      ("nbd://h/%ff", "nbd://h/%ff"), ("nbd://h/ü", "nbd://h/%c3%bc"),
    ])
  func good(text: String, shown: String) throws {
    #expect(NbdAddress.isAddress(text))
    #expect(try NbdAddress(text).uri == shown)
    // What is shown leads to the same place.
    #expect(try NbdAddress(shown) == NbdAddress(text))
  }

  @Test(
    "texts that are none",
    arguments: [
      "nbd:///a", "nbd://:1/", "nbd://h:0/", "nbd://h:65536/", "nbd://h:+1/", "nbd://h:1x/", "nbd://a b/",
      "nbd://u@h/",
      "nbd://h/%", "nbd://h/%0", "nbd://h/%g0", "nbd://h/%00", "nbd://h/a#b", "nbd://h/?socket=/s",
      "nbd://h/?x=1",
      "nbd://::1/", "nbd://[::1", "nbd://[::1]x/", "nbd+unix:///a", "nbd+unix:///a?socket=",
      "nbd+unix://h/a?socket=/s",
      "nbd+unix:///a?socket=/s&socket=/t", "nbd+unix:///a?socket=%00",
      "nbd+unix:///?socket=/" + String(repeating: "s", count: 107),
      "nbd://h/" + String(repeating: "e", count: 4097),
      "nbd://" + String(repeating: "h", count: 254) + "/", "nbds://h/", "nbds+unix:///?socket=/s",
      "nbd+vsock://1/",
      "nbd://h/" + String(repeating: "%", count: 20_000),
    ])
  func bad(text: String) {
    #expect(NbdAddress.isAddress(text))
    #expect(throws: NbdAddress.Refusal.self) { try NbdAddress(text) }
  }

  @Test("what is a path is no address") func paths() {
    for path in ["nbd", "nbd:/x", "./nbd://x", "/nbd://x", "disk", "nbd:h:1", ""] {
      #expect(!NbdAddress.isAddress(path))
    }
  }

  @Test("short forms and options") func others() throws {
    #expect(try NbdAddress(short: "nbd:h:10809").uri == "nbd://h/")
    #expect(try NbdAddress(short: "nbd:h:9:exportname=a:b c").uri == "nbd://h:9/a%3ab%20c")
    #expect(try NbdAddress(short: "nbd:unix:/s:exportname=x").uri == "nbd+unix:///x?socket=/s")
    for text in ["nbd:h", "nbd:h:", "nbd:unix:", "nbd::9", "nbd:"] {
      #expect(throws: NbdAddress.Refusal.self) { try NbdAddress(short: text) }
    }
    var used: Set<String> = []
    let options = ["file.server.type": "unix", "file.server.path": "/s", "file.export": "é"]
    #expect(try NbdAddress(options: options, "file.", &used).uri == "nbd+unix:///%c3%a9?socket=/s")
    #expect(used == Set(options.keys))
    for wrong in [
      ["host": "h", "path": "/s"], [:], ["server.type": "fd"], ["server.type": "inet", "server.path": "/s"],
      ["server.host": "h", "server.port": "0"], ["host": "h\u{0}"],
    ] {
      #expect(throws: NbdAddress.Refusal.self) { try NbdAddress(options: wrong, "", &used) }
    }
  }
}
