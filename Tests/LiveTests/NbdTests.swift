// What a server says to clients that keep to the protocol, and to those that do not.

import Foundation
import Live
import Qcow
import QcowFormat
import TestSupport
import Testing

@Suite("NBD", .tags(.fast)) struct NbdTests {
  @Test("a client learns the size and what the disk can do; its bytes come back")
  func readsWhatItWrote() throws {
    let served = try ServedImage(ServedImage.options())
    let client = try served.client()
    let facts = try client.begin()
    #expect(facts.size == 1 << 20)
    // Flush, forced unit access, trim, write zeroes, several connections, cache, fast zeroes; no rotation.
    #expect(facts.flags == 0b1101_0110_1101)
    let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    #expect(try client.ask(1, 777, 10_000, bytes) == PlainClient.Reply(error: 0, cookie: 1))
    #expect(try client.ask(0, 777, 10_000).data == bytes)
    #expect(try client.ask(0, 0, 777).data == [UInt8](repeating: 0, count: 777))
    // The last bytes of the disk, and none at all.
    #expect(try client.ask(0, (1 << 20) - 5, 5).data.count == 5)
    #expect(try client.ask(0, 5, 0) == PlainClient.Reply(error: 0, cookie: 1))
    #expect(try client.ask(1, flags: 1, 4096, 4, [1, 2, 3, 4]).error == 0)
    #expect(served.shared.counts.flushes == 1)
    #expect(try client.ask(6, flags: 2, 0, 4096).error == 0)
    #expect(try client.ask(4, 4096, 8192).error == 0)
    #expect(try client.ask(5, 0, 4096).error == 0)
    #expect(try client.ask(3).error == 0)
    #expect(try client.ask(0, 777, 4096).data == [UInt8](repeating: 0, count: 4096))
    let counts = served.shared.counts
    #expect(
      counts.writes == 2 && counts.bytesWritten == 10_004 && counts.discards == 1 && counts.zeroWrites == 1)
    client.send(PlainClient.request(2))
    #expect(try client.isEnded())
  }

  @Test("several requests in one piece are answered in their order", arguments: [false, true])
  func pipelined(structured: Bool) throws {
    let served = try ServedImage(ServedImage.options())
    let client = try served.client()
    try client.begin(structured: structured)
    var all: [UInt8] = []
    for index in 0..<300 {
      all += PlainClient.request(
        1, cookie: UInt64(index) << 32, UInt64(index) * 512, 512,
        [UInt8](repeating: UInt8(index & 0xff), count: 512))
      all += PlainClient.request(0, cookie: UInt64(index) << 32 | 1, UInt64(index) * 512, 512)
    }
    // A part of a request is waited for.
    client.send(Array(all.prefix(70_001)))
    client.send(Array(all.dropFirst(70_001)))
    for index in 0..<300 {
      #expect(try client.reply().cookie == UInt64(index) << 32)
      let read = try client.reply(reads: 512)
      #expect(read.cookie == UInt64(index) << 32 | 1)
      #expect(read.data == [UInt8](repeating: UInt8(index & 0xff), count: 512))
    }
    let (records, lost) = served.shared.requests(from: 0, most: 1000)
    #expect(records.count == 600 && lost == 0 && records[1].kind == .read && records[1].asker == 1)
  }

  @Test(
    "what cannot be done is refused with its number, and the connection goes on", arguments: [false, true])
  func refusals(structured: Bool) throws {
    let served = try ServedImage(ServedImage.options())
    let client = try served.client()
    try client.begin(structured: structured)
    let end = UInt64(1) << 20
    #expect(try client.ask(0, end - 1, 2).error == 22)
    #expect(try client.ask(1, end - 1, 2, [1, 2]).error == 28)
    #expect(try client.ask(0, .max, 2).error == 22)
    #expect(try client.ask(6, .max - 1, .max).error == 28)
    #expect(try client.ask(4, end, 1).error == 22)
    // Nobody knows these.
    #expect(try client.ask(8, 0, 1).error == 22)
    #expect(try client.ask(0xffff, 0, 1).error == 22)
    #expect(try client.ask(0, flags: 0x8000, 0, 1).error == 22)
    #expect(try client.ask(1, flags: 2, 0, 1, [1]).error == 22)
    #expect(try client.ask(7, 0, 1).error == 22)
    #expect(try client.ask(0, 0, 32 << 20 + 1).error == 22)
    // Zeroes that have to be written are not fast.
    #expect(try client.ask(6, flags: 16, 1, 4096).error == 95)
    #expect(try client.ask(6, flags: 16, 4096, 4096).error == 0)
    #expect(try client.ask(0, 0, 1).data == [0])
    if structured {
      client.send(PlainClient.request(1, cookie: 9, end, 1, [1]))
      let reply = try client.reply()
      #expect(reply.cookie == 9 && reply.reason == "the range ends behind the disk")
    }
  }

  @Test("a disk that is only read takes no changes")
  func readOnly() throws {
    let served = try ServedImage(ServedImage.options(), writable: false)
    let client = try served.client()
    #expect(try client.begin().flags & 2 == 2)
    #expect(try client.ask(1, 0, 2, [1, 2]).error == 1)
    #expect(try client.ask(4, 0, 4096).error == 1)
    #expect(try client.ask(6, 0, 4096).error == 1)
    #expect(try client.ask(3).error == 0)
    #expect(try client.ask(0, 0, 2).data == [0, 0])
  }

  @Test("options: names, lists, facts and contexts")
  func options() throws {
    let served = try ServedImage(ServedImage.options(), name: "disk")
    let client = try served.client()
    let greeting = try client.greet()
    #expect(greeting == Array("NBDMAGICIHAVEOPT".utf8) + [0, 3])
    client.option(3)
    let list = try client.optionReplies()
    #expect(list.map(\.kind) == [2, 1] && list[0].data == [0, 0, 0, 4] + Array("disk".utf8))
    client.option(99, [1, 2, 3])
    #expect(try client.optionReply().kind == 1 << 31 + 1)
    client.option(5)
    #expect(try client.optionReply().kind == 1 << 31 + 1)
    client.option(6, PlainClient.words("other") + bigEndian(UInt16(0)))
    #expect(try client.optionReply().kind == 1 << 31 + 6)
    client.option(6, bigEndian(UInt32(99)) + [1])
    #expect(try client.optionReply().kind == 1 << 31 + 3)
    client.option(6, PlainClient.words("disk") + bigEndian(UInt16(2)) + [0, 1, 0, 2])
    let facts = try client.optionReplies()
    #expect(facts.map(\.kind) == [3, 3, 3, 3, 1])
    #expect(
      facts[1].data == [0, 3] + bigEndian(UInt32(1)) + bigEndian(UInt32(4096)) + bigEndian(UInt32(32 << 20)))
    #expect(facts[2].data == [0, 1] + Array("disk".utf8) && facts[3].data == [0, 2] + Array("a disk".utf8))
    // Contexts come behind structured replies.
    client.option(10, PlainClient.words("disk") + bigEndian(UInt32(0)))
    #expect(try client.optionReply().kind == 1 << 31 + 3)
    client.option(9, PlainClient.words("disk") + bigEndian(UInt32(0)))
    let contexts = try client.optionReplies().dropLast().map {
      String(decoding: $0.data.dropFirst(4), as: UTF8.self)
    }
    #expect(contexts == ["base:allocation", "qemu:allocation-depth", "qatlas:mapping"])
    client.option(9, PlainClient.words("disk") + bigEndian(UInt32(1)) + PlainClient.words("qemu:"))
    #expect(try client.optionReplies().count == 2)
    client.option(8)
    #expect(try client.optionReply().kind == 1)
    client.option(8, [1])
    #expect(try client.optionReply().kind == 1 << 31 + 3)
    client.option(10, PlainClient.words("disk") + bigEndian(UInt32(1)) + PlainClient.words("base:"))
    #expect(try client.optionReplies().map(\.kind) == [1])
    client.option(10, PlainClient.words("disk") + bigEndian(UInt32(2)) + PlainClient.words("x:y"))
    #expect(try client.optionReply().kind == 1 << 31 + 3)
    client.option(2)
    #expect(try client.optionReply().kind == 1)
    #expect(try client.isEnded())
  }

  @Test("the old way to choose a disk, with and without its zeroes", arguments: [UInt32(1), 3])
  func exportName(flags: UInt32) throws {
    let served = try ServedImage(ServedImage.options(), name: "disk")
    let client = try served.client()
    _ = try client.greet(flags: flags)
    client.option(1, Array("disk".utf8))
    let facts = try client.receive(10 + (flags == 1 ? 124 : 0))
    #expect(number(facts, 0, 8) == 1 << 20 && facts.dropFirst(10).allSatisfy { $0 == 0 })
    #expect(try client.ask(0, 0, 3).data == [0, 0, 0])
    let other = try served.client()
    _ = try other.greet()
    other.option(1, Array("dusk".utf8))
    #expect(try other.isEnded())
  }

  @Test("what breaks the rules ends the connection, and no other")
  func broken() throws {
    let served = try ServedImage(ServedImage.options())
    let good = try served.client()
    try good.begin()
    func ends(_ body: (PlainClient) throws -> Void) throws {
      let client = try served.client()
      try body(client)
      #expect(try client.isEnded())
      #expect(try good.ask(0, 0, 1).data == [0])
    }
    try ends { _ = try $0.greet(flags: 4) }
    try ends { _ = try $0.greet(flags: 0) }
    try ends {
      _ = try $0.greet()
      $0.send([UInt8](repeating: 7, count: 16))
    }
    try ends {
      _ = try $0.greet()
      $0.send(bigEndian(UInt64(0x4948_4156_454f_5054)) + bigEndian(UInt32(99)) + bigEndian(UInt32.max))
    }
    try ends { client in
      _ = try client.greet()
      for _ in 0..<64 {
        client.option(99)
        _ = try client.optionReply()
      }
    }
    try ends {
      try $0.begin()
      $0.send([UInt8](repeating: 7, count: 28))
    }
    try ends {
      try $0.begin()
      $0.send(PlainClient.request(1, 0, 32 << 20 + 1))
    }
  }

  @Test("the state of a range, by each of the three contexts")
  func status() throws {
    let served = try ServedImage(ServedImage.options(extended: false))
    let client = try served.client()
    let names = ["base:allocation", "qemu:allocation-depth", "qatlas:mapping"]
    try client.begin(structured: true, contexts: names)
    #expect(try client.ask(1, 8192, 8192, [UInt8](repeating: 1, count: 8192)).error == 0)
    #expect(try client.ask(6, flags: 2, 12288, 4096).error == 0)
    #expect(try client.ask(6, 20480, 4096).error == 0)
    let reply = try client.ask(7, 4096, 20480)
    #expect(reply.runs[0] == [[4096, 3], [4096, 0], [12288, 3]])
    #expect(reply.runs[1] == [[4096, 0], [8192, 1], [4096, 0], [4096, 1]])
    #expect(reply.runs[2] == [[4096, 0], [4096, 5], [4096, 7], [4096, 0], [4096, 3]])
    let one = try client.ask(7, flags: 8, 4096, 20480)
    #expect(one.runs[0] == [[4096, 3]] && one.runs[2] == [[4096, 0]])
    #expect(try client.ask(7, 4096, 0).error == 22)
  }

  @Test("a client that asks and does not read delays nobody else")
  func stuckReader() throws {
    let served = try ServedImage(ServedImage.options(size: 64 << 20, clusterSize: 65536))
    let stuck = try served.client()
    try stuck.begin()
    for index in 0..<8 { stuck.send(PlainClient.request(0, cookie: UInt64(index), 0, 32 << 20)) }
    let other = try served.client()
    try other.begin()
    let clock = ContinuousClock()
    let start = clock.now
    for _ in 0..<200 { #expect(try other.ask(0, 4096, 512).error == 0) }
    #expect(start.duration(to: clock.now) < .seconds(10))
    // It gets all of it once it reads.
    for index in 0..<8 { #expect(try stuck.reply(reads: 32 << 20).cookie == UInt64(index)) }
  }

  @Test("more clients than there are places for wait, and the end leaves nobody waiting")
  func places() throws {
    let served = try ServedImage(ServedImage.options())
    var clients = try (0..<NbdServer.mostClients).map { _ in try served.client() }
    for client in clients { try client.begin() }
    let late = try served.client()
    clients.removeFirst()
    #expect(try late.begin().size == 1 << 20)
    served.server.stop()
    #expect(try late.isEnded())
    for client in clients { #expect(try client.isEnded()) }
  }
}
