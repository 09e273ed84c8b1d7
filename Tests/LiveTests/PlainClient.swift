// A client of the NBD protocol that shares no code with the server: it says what it is told to say, right or wrong.

import Foundation
import Live
import TestSupport

#if canImport(Glibc)
  import Glibc
#endif

/// A connection to a server, byte by byte.
final class PlainClient: @unchecked Sendable {
  let descriptor: Int32

  init(_ path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
    let result = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else {
      throw TestFailure("cannot connect to \(path): \(String(cString: strerror(errno)))")
    }
    var patience = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  /// Sending gives up after so many milliseconds.
  func setPatience(milliseconds: Int) {
    var patience = timeval(tv_sec: 0, tv_usec: milliseconds * 1000)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  /// False if the server takes no more.
  @discardableResult
  func send(_ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { return false }
      rest = rest.dropFirst(sent)
    }
    return true
  }

  /// So many bytes; fewer if the server ends the connection before.
  func receive(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var have = 0
    while have < count {
      let got = bytes.withUnsafeMutableBytes { room in
        let rest = UnsafeMutableRawBufferPointer(rebasing: room[have...])
        return recv(descriptor, rest.baseAddress, rest.count, 0)
      }
      if got < 0, errno == EAGAIN { throw TestFailure("no answer within 20 seconds") }
      guard got > 0 else { break }
      have += got
    }
    return Array(bytes.prefix(have))
  }

  /// The server has ended the connection.
  func isEnded() throws -> Bool { try receive(1).isEmpty }

  // MARK: Handshake

  func greet(flags: UInt32 = 3) throws -> [UInt8] {
    let greeting = try receive(18)
    send(bigEndian(flags))
    return greeting
  }

  func option(_ number: UInt32, _ data: [UInt8] = []) {
    send(bigEndian(UInt64(0x4948_4156_454f_5054)) + bigEndian(number) + bigEndian(UInt32(data.count)) + data)
  }

  struct OptionReply: Equatable {
    var option: UInt32
    var kind: UInt32
    var data: [UInt8]
  }

  func optionReply() throws -> OptionReply {
    let head = try receive(20)
    guard head.count == 20, number(head, 0, 8) == 0x0003_e889_0455_65a9 else {
      throw TestFailure("no reply to an option: \(head)")
    }
    return OptionReply(
      option: UInt32(number(head, 8, 4)), kind: UInt32(number(head, 12, 4)),
      data: try receive(Int(number(head, 16, 4))))
  }

  /// All replies up to the last.
  func optionReplies() throws -> [OptionReply] {
    var list: [OptionReply] = []
    repeat {
      list.append(try optionReply())
    } while list.last.map { $0.kind != 1 && $0.kind < 1 << 31 } ?? false
    return list
  }

  static func words(_ name: String) -> [UInt8] { bigEndian(UInt32(name.utf8.count)) + Array(name.utf8) }

  /// Uses the disk from now on.
  @discardableResult
  func begin(structured: Bool = false, contexts: [String] = []) throws -> (size: UInt64, flags: UInt16) {
    _ = try greet()
    if structured {
      option(8)
      guard try optionReply().kind == 1 else { throw TestFailure("no structured replies") }
    }
    if !contexts.isEmpty {
      option(
        10, Self.words("") + bigEndian(UInt32(contexts.count)) + contexts.flatMap { Self.words($0) })
      _ = try optionReplies()
    }
    option(7, Self.words("") + bigEndian(UInt16(0)))
    let replies = try optionReplies()
    guard let fact = replies.first(where: { $0.kind == 3 && $0.data.starts(with: [0, 0]) }) else {
      throw TestFailure("no facts of the disk")
    }
    return (number(fact.data, 2, 8), UInt16(number(fact.data, 10, 2)))
  }

  // MARK: Requests

  static func request(
    _ command: UInt16, flags: UInt16 = 0, cookie: UInt64 = 1, _ offset: UInt64 = 0, _ length: UInt32 = 0,
    _ payload: [UInt8] = []
  ) -> [UInt8] {
    bigEndian(UInt32(0x2560_9513)) + bigEndian(flags) + bigEndian(command) + bigEndian(cookie)
      + bigEndian(offset) + bigEndian(length) + payload
  }

  struct Reply: Equatable {
    var error: UInt32
    var cookie: UInt64
    var data: [UInt8] = []
    /// The words of an error.
    var reason = ""
    /// Lengths and flags, by context.
    var runs: [UInt32: [[UInt32]]] = [:]
  }

  /// The next answer; `reads` says how many bytes a simple one brings if it is none of an error.
  func reply(reads: Int = 0) throws -> Reply {
    let head = try receive(16)
    guard head.count == 16 else { throw TestFailure("the connection ended instead of an answer") }
    if number(head, 0, 4) == 0x6744_6698 {
      let error = UInt32(number(head, 4, 4))
      return Reply(error: error, cookie: number(head, 8, 8), data: error == 0 ? try receive(reads) : [])
    }
    guard number(head, 0, 4) == 0x668e_33ef else { throw TestFailure("no answer: \(head)") }
    var answer = Reply(error: 0, cookie: number(head, 8, 8))
    var (flags, kind) = (number(head, 4, 2), number(head, 6, 2))
    while true {
      let body = try receive(Int(number(try receive(4), 0, 4)))
      switch kind {
      case 1: answer.data += body.dropFirst(8)
      case 5:
        answer.runs[UInt32(number(body, 0, 4))] = stride(from: 4, to: body.count, by: 8).map {
          [UInt32(number(body, $0, 4)), UInt32(number(body, $0 + 4, 4))]
        }
      case 0x8001:
        answer.error = UInt32(number(body, 0, 4))
        answer.reason = String(decoding: body.dropFirst(6), as: UTF8.self)
      default: throw TestFailure("an answer of kind \(kind)")
      }
      if flags & 1 == 1 { return answer }
      let next = try receive(16)
      (flags, kind) = (number(next, 4, 2), number(next, 6, 2))
    }
  }

  /// Sends a request and takes its answer.
  func ask(
    _ command: UInt16, flags: UInt16 = 0, _ offset: UInt64 = 0, _ length: UInt32 = 0, _ payload: [UInt8] = []
  ) throws -> Reply {
    send(Self.request(command, flags: flags, offset, length, payload))
    return try reply(reads: command == 0 ? Int(length) : 0)
  }
}

func bigEndian<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
  withUnsafeBytes(of: value.bigEndian) { Array($0) }
}

func number(_ bytes: [UInt8], _ at: Int, _ width: Int) -> UInt64 {
  guard at + width <= bytes.count else { return 0 }
  return bytes[at..<at + width].reduce(0) { $0 << 8 | UInt64($1) }
}
