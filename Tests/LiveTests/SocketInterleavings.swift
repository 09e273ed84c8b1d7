// The same through sockets: the server's threads and its batches are those of real clients, in an order that is left to
// the host.

import EngineSupport
import Foundation
import Live
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

extension InterleavingTests {
  private struct Asked {
    var command: UInt16
    var flags: UInt16
    var offset: UInt64
    var length: UInt64
    var byte: UInt8
  }

  @Test("requests that come through sockets in pieces equal a raw twin")
  func throughSockets() throws {
    let first = try environmentNumber("QATLAS_SEED", default: 0)
    let count = try environmentNumber("QATLAS_INTERLEAVINGS", default: 60)
    for seed in first..<first + count { try run(seed) }
  }

  private func run(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let clusterBits = [9, 12, 16][Int(random.below(3))]
    let extended = clusterBits >= 14 && random.below(2) == 0
    let clusterSize = UInt64(1) << UInt64(clusterBits)
    let size = clusterSize * (8 + random.below(24))
    let served = try ServedImage(
      ServedImage.options(size: size, clusterSize: clusterSize, extended: extended))
    let clients = try (0..<2 + Int(random.below(3))).map { _ in try served.client() }
    for client in clients { try client.begin(structured: random.below(2) == 0) }
    // What each client has under way, first in, first out.
    var asked = clients.map { _ in [Asked]() }
    var unsent = clients.map { _ in [UInt8]() }
    for index in clients.indices {
      for _ in 0..<10 + random.below(20) {
        let command: UInt16 = [0, 0, 1, 1, 1, 4, 6, 6, 3][Int(random.below(9))]
        // Small places, so that most requests meet others.
        let offset = command == 3 ? 0 : random.below(size / 512) * 512
        let length =
          command == 3 ? 0 : min(size - offset, (1 + random.below(max(1, 3 * clusterSize / 512))) * 512)
        let request = Asked(
          command: command,
          flags: command == 6
            ? UInt16(random.below(2)) * 2 : command == 1 ? UInt16(random.below(8) == 0 ? 1 : 0) : 0,
          offset: offset, length: length, byte: UInt8(1 + random.below(255)))
        asked[index].append(request)
        unsent[index] += PlainClient.request(
          command, flags: request.flags, cookie: UInt64(asked[index].count - 1), offset, UInt32(length),
          command == 1 ? [UInt8](repeating: request.byte, count: Int(length)) : [])
      }
    }
    // Who sends also reads, or the server would take no more.
    let readers = clients.indices.map { index in
      Reader(clients[index], asked[index].map { $0.command == 0 ? Int($0.length) : 0 })
    }
    // The seed cuts what is sent into pieces and says whose comes next.
    var rest = clients.indices.filter { !unsent[$0].isEmpty }
    while !rest.isEmpty {
      let index = rest[Int(random.below(UInt64(rest.count)))]
      let piece = min(unsent[index].count, 1 + Int(random.below(random.below(2) == 0 ? 64 : 1 << 18)))
      clients[index].send(Array(unsent[index].prefix(piece)))
      unsent[index].removeFirst(piece)
      if unsent[index].isEmpty { rest.removeAll { $0 == index } }
    }
    let answers = try readers.map { try $0.answers() }
    // The twin does them in the order that the disk reports.
    let (records, lost) = served.shared.requests(from: 0, most: .max >> 1)
    #expect(lost == 0)
    var twin = [UInt8](repeating: 0, count: Int(size))
    // A discard leaves parts of clusters as they are, and nobody knows what the rest reads as but the image; here that
    // is zeroes, as there is no layer below.
    var next = clients.map { _ in 0 }
    for record in records where record.kind != .flush {
      let index = Int(record.asker) - 1
      while next[index] < asked[index].count, asked[index][next[index]].command == 3 { next[index] += 1 }
      guard next[index] < asked[index].count else {
        Issue.record("seed \(seed): client \(index) did not ask for \(record)")
        return
      }
      let request = asked[index][next[index]]
      let answer = answers[index][next[index]]
      #expect(answer.error == 0 && answer.cookie == UInt64(next[index]), "seed \(seed)")
      #expect(record.offset == request.offset && record.length == request.length, "seed \(seed)")
      next[index] += 1
      let range = Int(record.offset)..<Int(record.offset + record.length)
      switch record.kind {
      case .read:
        let isSame = sameBytes(answer.data, Array(twin[range]))
        #expect(
          isSame, "seed \(seed): client \(index) read what no order of whole requests gives at \(range)")
      case .write: for at in range { twin[at] = request.byte }
      case .zeroWrite, .zeroWriteMayUnmap: for at in range { twin[at] = 0 }
      case .discard:
        let unit = Int(clusterSize)
        let first = (range.lowerBound + unit - 1) / unit * unit
        let last = range.upperBound == Int(size) ? range.upperBound : range.upperBound / unit * unit
        if first < last { for at in first..<last { twin[at] = 0 } }
      case .flush: break
      }
    }
    for index in clients.indices {
      let left = asked[index][next[index]...].contains { $0.command != 3 }
      #expect(!left, "seed \(seed): client \(index) has requests that nobody did")
    }
    served.server.stop()
    var content = [UInt8](repeating: 0xee, count: Int(size))
    try content.withUnsafeMutableBytes { try served.image.read(at: GuestOffset(0), into: $0) }
    let isSame = sameBytes(content, twin)
    #expect(isSame, "seed \(seed): the disk differs from the twin")
    try served.image.close()
    let verdict = try ImageCheck(served.storage) { _ in }.run()
    #expect(
      verdict.corruptions == 0 && verdict.leaks == 0 && verdict.failure == nil, "seed \(seed): \(verdict)")
  }
}

/// Takes the answers of one client on a thread of its own.
private final class Reader: @unchecked Sendable {
  private let done = DispatchSemaphore(value: 0)
  private var result: Result<[PlainClient.Reply], any Error> = .success([])

  init(_ client: PlainClient, _ reads: [Int]) {
    let thread = Thread { [self] in
      result = Result { try reads.map { try client.reply(reads: $0) } }
      done.signal()
    }
    thread.start()
  }

  func answers() throws -> [PlainClient.Reply] {
    done.wait()
    return try result.get()
  }
}
