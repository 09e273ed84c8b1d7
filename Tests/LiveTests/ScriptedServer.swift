// A server of the NBD protocol that shares no code with the client: it says what it is told to say, right or wrong,
// and counts what it is asked.

import Foundation
import TestSupport

#if canImport(Glibc)
  import Glibc
#endif

/// Serves bytes to one client after the other, on a thread of its own.
final class ScriptedServer: @unchecked Sendable {
  /// How a server behaves.
  struct Manner: Sendable {
    var isStructured = true
    var tellsStates = true
    /// Sees every message to the client, and what it makes of it is sent; nil ends the connection.
    var mangle: (@Sendable ([UInt8], inout SplitMix64) -> [UInt8]?)?
    /// Answers come in any order.
    var shuffles = false
    /// After so many requests nothing is said any more, or the connection is ended.
    var lastRequest = Int.max
    var fallsSilent = false
    /// Reads that touch these bytes are refused.
    var refused: Range<UInt64> = 0..<0
    var seed: UInt64 = 1
  }

  let folder: TemporaryDirectory
  let bytes: [UInt8]
  private let manner: Manner
  private let listening: Int32
  private let lock = NSLock()
  private var counted = Counts()

  /// What it was asked.
  struct Counts {
    var clients = 0
    var requests = 0
    var bytes: UInt64 = 0
    /// How often it waited until no further request came: the round trips of the client.
    var rounds = 0
    var most = 0
  }
  var counts: Counts { lock.withLock { counted } }

  var socketPath: String { folder.path("s") }
  var uri: String { "nbd+unix:///x?socket=\(socketPath)" }

  init(_ bytes: [UInt8], _ manner: Manner = Manner()) throws {
    folder = try TemporaryDirectory(inMemory: true)
    self.bytes = bytes
    self.manner = manner
    listening = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    let path = folder.path("s")
    withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
    let result = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listening, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0, listen(listening, 16) == 0 else { throw TestFailure("cannot listen at \(path)") }
    let thread = Thread { [listening] in
      var random = SplitMix64(seed: manner.seed)
      while true {
        let client = accept(listening, nil, nil)
        guard client >= 0 else { return }
        self.lock.withLock { self.counted.clients += 1 }
        self.serve(Line(client, &random, manner.mangle))
        close(client)
        _ = random.next()
      }
    }
    thread.start()
  }

  deinit { stop() }

  /// Once: the number of a closed descriptor is somebody else's soon.
  func stop() {
    let isFirst = lock.withLock {
      defer { isStopped = true }
      return !isStopped
    }
    guard isFirst else { return }
    shutdown(listening, Int32(SHUT_RDWR))
    close(listening)
  }
  private var isStopped = false

  /// One connection.
  private final class Line {
    let descriptor: Int32
    var random: SplitMix64
    let mangle: (@Sendable ([UInt8], inout SplitMix64) -> [UInt8]?)?

    init(
      _ descriptor: Int32, _ random: inout SplitMix64,
      _ mangle: (@Sendable ([UInt8], inout SplitMix64) -> [UInt8]?)?
    ) {
      self.descriptor = descriptor
      self.random = SplitMix64(seed: random.next())
      self.mangle = mangle
      var patience = timeval(tv_sec: 20, tv_usec: 0)
      setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    /// False if the client has gone, or is to go.
    func say(_ message: [UInt8]) -> Bool {
      guard let message = mangle.map({ $0(message, &random) }) ?? message else { return false }
      var rest = message[...]
      while !rest.isEmpty {
        let sent = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        guard sent > 0 else { return false }
        rest = rest.dropFirst(sent)
      }
      return true
    }

    func hear(_ count: Int) -> [UInt8]? {
      var bytes = [UInt8](repeating: 0, count: count)
      var have = 0
      while have < count {
        let got = bytes.withUnsafeMutableBytes {
          recv(descriptor, $0.baseAddress?.advanced(by: have), count - have, 0)
        }
        guard got > 0 else { return nil }
        have += got
      }
      return bytes
    }

    /// Something more has come within so many milliseconds.
    func hasMore(_ milliseconds: Int32) -> Bool {
      var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      return poll(&wait, 1, milliseconds) > 0
    }
  }

  private func serve(_ line: Line) {
    guard let isStructured = greet(line) else { return }
    var asked = 0
    while let first = line.hear(28) {
      var round = [first]
      // All that comes without an answer belongs to one round.
      while manner.mangle == nil, line.hasMore(8), let next = line.hear(28) { round.append(next) }
      lock.withLock {
        counted.rounds += 1
        counted.most = max(counted.most, round.count)
        counted.requests += round.count
      }
      if manner.shuffles { round.shuffle(using: &line.random) }
      for request in round {
        asked += 1
        guard asked <= manner.lastRequest else {
          // Until the client has had enough.
          if manner.fallsSilent { while line.hear(1) != nil {} }
          return
        }
        guard answer(request, line, isStructured) else { return }
      }
    }
  }

  /// Nil if the client leaves; else whether answers come in pieces.
  private func greet(_ line: Line) -> Bool? {
    let start = bigEndian(UInt64(0x4e42_444d_4147_4943)) + bigEndian(UInt64(0x4948_4156_454f_5054))
    guard line.say(start + bigEndian(UInt16(3))), line.hear(4) != nil else { return nil }
    var isStructured = false
    while let head = line.hear(16), let data = line.hear(Int(min(number(head, 12, 4), 1 << 16))) {
      let option = UInt32(number(head, 8, 4))
      func reply(_ kind: UInt32, _ data: [UInt8] = []) -> Bool {
        line.say(
          bigEndian(UInt64(0x0003_e889_0455_65a9)) + bigEndian(option) + bigEndian(kind)
            + bigEndian(UInt32(data.count)) + data)
      }
      switch option {
      case 8 where manner.isStructured:
        isStructured = true
        guard reply(1) else { return nil }
      case 10 where manner.tellsStates && isStructured:
        guard reply(4, bigEndian(UInt32(7)) + Array("base:allocation".utf8)), reply(1) else { return nil }
      case 7 where data.count >= 6:
        guard reply(3, bigEndian(UInt16(0)) + bigEndian(UInt64(bytes.count)) + bigEndian(UInt16(3))),
          reply(1)
        else { return nil }
        return isStructured
      default: guard reply(1 << 31 + 1) else { return nil }
      }
    }
    return nil
  }

  private func answer(_ request: [UInt8], _ line: Line, _ isStructured: Bool) -> Bool {
    let (command, cookie) = (number(request, 6, 2), Array(request[8..<16]))
    let (offset, count) = (number(request, 16, 8), number(request, 24, 4))
    guard command == 0 || command == 7, offset + count <= UInt64(bytes.count) else { return false }
    func piece(_ kind: UInt16, _ data: [UInt8], isLast: Bool = true) -> Bool {
      line.say(
        bigEndian(UInt32(0x668e_33ef)) + bigEndian(UInt16(isLast ? 1 : 0)) + bigEndian(kind) + cookie
          + bigEndian(UInt32(data.count)) + data)
    }
    let range = offset..<offset + count
    guard !range.overlaps(manner.refused) || command == 7 else {
      if isStructured {
        return piece(0x8001, bigEndian(UInt32(5)) + bigEndian(UInt16(3)) + Array("bad".utf8))
      }
      return line.say(bigEndian(UInt32(0x6744_6698)) + bigEndian(UInt32(5)) + cookie)
    }
    if command == 7 {
      var states: [UInt8] = bigEndian(UInt32(7))
      var at = offset
      while at < range.upperBound {
        let end = min(range.upperBound, (at / 4096 + 1) * 4096)
        let isZero = bytes[Int(at)..<Int(end)].allSatisfy { $0 == 0 }
        states += bigEndian(UInt32(end - at)) + bigEndian(UInt32(isZero ? 3 : 0))
        at = end
      }
      return piece(5, states)
    }
    lock.withLock { counted.bytes += count }
    let data = Array(bytes[Int(offset)..<Int(range.upperBound)])
    guard isStructured else {
      return line.say(bigEndian(UInt32(0x6744_6698)) + bigEndian(UInt32(0)) + cookie + data)
    }
    // In two pieces, the second one first, and a hole where it is one.
    let middle = data.count / 2
    guard middle > 0, line.random.below(3) == 0 else { return piece(1, bigEndian(offset) + data) }
    let second = bigEndian(offset + UInt64(middle)) + data[middle...]
    if data[..<middle].allSatisfy({ $0 == 0 }) {
      return piece(1, second, isLast: false) && piece(2, bigEndian(offset) + bigEndian(UInt32(middle)))
    }
    return piece(1, second, isLast: false) && piece(1, bigEndian(offset) + data[..<middle])
  }
}
