// Clients that send rubbish: whatever comes, the server neither ends nor stops, and serves others.

import EngineSupport
import Foundation
import Live
import Qcow
import TestSupport
import Testing

@Suite("NBD rubbish", .tags(.campaign)) struct RubbishTests {
  /// How many messages; `QATLAS_NBD_MESSAGES` asks for more.
  static let messages = Int(ProcessInfo.processInfo.environment["QATLAS_NBD_MESSAGES"] ?? "") ?? 4000

  @Test("seeded messages, true ones with wrong bytes among them")
  func seeded() throws {
    var random = SplitMix64(seed: 14)
    let served = try ServedImage(ServedImage.options(size: 4 << 20, clusterSize: 4096))
    let good = try served.client()
    try good.begin()
    #expect(try good.ask(1, 0, 4, [1, 2, 3, 4]).error == 0)
    var sent = 0
    while sent < Self.messages {
      let client = try served.client()
      if random.below(4) > 0 {
        try client.begin(structured: random.below(2) == 0, contexts: ["base:allocation"])
      }
      // Who does not read is not read either.
      client.setPatience(milliseconds: 100)
      for _ in 0..<1 + random.below(40) {
        sent += 1
        var message: [UInt8]
        switch random.below(6) {
        case 0: message = randomBytes(Int(random.below(200)), &random)
        case 1:
          let data = randomBytes(Int(random.below(64)), &random)
          message =
            bigEndian(UInt64(0x4948_4156_454f_5054)) + bigEndian(UInt32(random.below(14)))
            + bigEndian(UInt32(random.below(8) == 0 ? random.next() & 0xffff_ffff : UInt64(data.count)))
            + data
        default:
          let command = UInt16(random.below(10))
          let length = UInt32(random.below(3) == 0 ? random.next() & 0xffff_ffff : random.below(8192))
          message = PlainClient.request(
            command, flags: random.below(3) == 0 ? UInt16(random.below(64)) : 0, cookie: random.next(),
            random.below(4) == 0 ? random.next() : 4096 + random.below(4 << 20), length)
          if command == 1, length < 65536 { message += randomBytes(Int(length), &random) }
        }
        // Now and then a byte is wrong, or the end is missing.
        if random.below(4) == 0, !message.isEmpty {
          message[Int(random.below(UInt64(message.count)))] = UInt8(random.below(256))
        }
        if random.below(10) == 0 { message.removeLast(Int(random.below(UInt64(message.count + 1)))) }
        guard client.send(message) else { break }
      }
      // Some leave without a look at what is answered.
      if random.below(2) == 0 {
        shutdown(client.descriptor, Int32(SHUT_WR))
        while try !client.receive(65536).isEmpty {}
      }
      if sent % 7 == 0 { #expect(try good.ask(0, 0, 4).data.count == 4) }
    }
    let later = try served.client()
    #expect(try later.begin().size == 4 << 20)
    #expect(try good.ask(3).error == 0)
    served.server.stop()
    try served.image.close()
    let verdict = try ImageCheck(served.storage) { _ in }.run()
    #expect(verdict.corruptions == 0 && verdict.leaks == 0 && verdict.failure == nil, "\(verdict)")
  }
}
