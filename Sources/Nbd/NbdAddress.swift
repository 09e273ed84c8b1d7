// Where a disk of another server is: a host and a port or a socket, and the name of the export. The text comes from a
// command line or from an image, so that everything in it is checked before anything is done with it.

import Storage

/// The address of an export.
package struct NbdAddress: Hashable, Sendable {
  /// Where the server listens.
  package enum Place: Hashable, Sendable {
    /// A name or a number, and a port.
    case host(String, port: UInt16)
    /// The path of a socket in the file system.
    case socket(String)
  }

  /// Why a text is no address.
  package struct Refusal: Error, Equatable {
    /// A sentence without the address.
    package var reason: String
  }

  /// Where the server listens.
  package let place: Place
  /// The bytes of the name; none for the server's own choice.
  package let export: [UInt8]

  /// Bytes of a name, by the protocol.
  private static let longestName = 4096
  /// Bytes of the path of a socket, by the host.
  private static let longestPath = 107
  /// Bytes of the name of a host.
  private static let longestHost = 253
  /// The port of the protocol.
  private static let usualPort: UInt16 = 10809

  /// What helps where a server wants TLS.
  package static let tlsAdvice =
    "TLS is not spoken here; 'nbdkit -U SOCKET nbd uri=nbds://…' in front speaks it, "
    + "and nbd+unix:///?socket=SOCKET leads through it"

  /// Beginnings of names that are addresses and no paths.
  private static let schemes = [
    "nbd://", "nbd+unix://", "nbds://", "nbds+unix://", "nbd+vsock://", "nbds+vsock://",
  ]

  /// Whether a name is an address and no path, be it one that can be used or not.
  package static func isAddress(_ name: String) -> Bool {
    name.utf8.first == UInt8(ascii: "n") && schemes.contains { ByteText.starts(name, with: $0) }
  }

  /// The address that a URI stands for: `nbd://HOST[:PORT]/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`, with percent
  /// escapes.
  ///
  /// - Throws: ``Refusal`` for what is no such URI, and for TLS.
  package init(_ uri: String) throws(Refusal) {
    let bytes = ByteText.bytes(uri)
    guard bytes.count <= 3 * (Self.longestName + Self.longestPath) + 1024 else {
      throw Refusal(reason: "the address is too long")
    }
    guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), bytes[colon...].starts(with: Array("://".utf8))
    else {
      throw Refusal(reason: "an address begins with nbd:// or nbd+unix://")
    }
    let scheme = String(decoding: bytes[..<colon], as: UTF8.self)
    guard scheme == "nbd" || scheme == "nbd+unix" else {
      throw Refusal(
        reason: scheme.utf8.starts(with: "nbds".utf8)
          ? Self.tlsAdvice : "of addresses only nbd:// and nbd+unix:// are known")
    }
    var rest = bytes[(colon + 3)...]
    guard !rest.contains(UInt8(ascii: "#")) else {
      throw Refusal(reason: "an address has no part behind a '#'; write %23 for one in a name")
    }
    var query: [ArraySlice<UInt8>] = []
    if let mark = rest.firstIndex(of: UInt8(ascii: "?")) {
      query = rest[(mark + 1)...].split(separator: UInt8(ascii: "&"))
      rest = rest[..<mark]
    }
    let slash = rest.firstIndex(of: UInt8(ascii: "/")) ?? rest.endIndex
    let export = try Self.plain(rest[slash...].dropFirst())
    var socket: [UInt8]?
    for item in query {
      guard item.starts(with: Array("socket=".utf8)), scheme == "nbd+unix", socket == nil else {
        throw Refusal(reason: "of options an address has socket=PATH alone, once, behind nbd+unix://")
      }
      socket = try Self.plain(item.dropFirst(7))
    }
    if scheme == "nbd+unix" {
      guard rest[..<slash].isEmpty else {
        throw Refusal(reason: "behind nbd+unix:// no host is named; the export follows a third slash")
      }
      guard let socket else { throw Refusal(reason: "?socket=PATH is missing") }
      try self.init(socket: socket, export: export)
    } else {
      let (host, port) = try Self.parts(of: rest[..<slash])
      try self.init(host: host, port: port, export: export)
    }
  }

  /// The short form: `nbd:HOST:PORT` or `nbd:unix:PATH`, with `:exportname=NAME` behind it or not; nothing is escaped.
  ///
  /// - Throws: ``Refusal`` for what is no such text.
  package init(short text: String) throws(Refusal) {
    var rest = ByteText.bytes(text)[...]
    guard rest.starts(with: Array("nbd:".utf8)) else {
      throw Refusal(reason: "the short form begins with nbd:")
    }
    rest = rest.dropFirst(4)
    var export: [UInt8] = []
    let mark = Array(":exportname=".utf8)
    if let at = rest.indices.first(where: { rest[$0...].starts(with: mark) }) {
      export = Array(rest[(at + mark.count)...])
      rest = rest[..<at]
    }
    if rest.starts(with: Array("unix:".utf8)) {
      try self.init(socket: Array(rest.dropFirst(5)), export: export)
    } else {
      let (host, port) = try Self.parts(of: rest)
      guard let port else { throw Refusal(reason: "behind nbd:HOST the port is missing") }
      try self.init(host: host, port: port, export: export)
    }
  }

  /// The options of a driver, by their flat names behind `prefix`; adds those that it has used.
  ///
  /// - Throws: ``Refusal`` for options that contradict each other or lead to no server.
  package init(
    options: [String: String], _ prefix: String, _ used: inout Set<String>
  ) throws(Refusal) {
    func take(_ name: String) -> [UInt8]? {
      guard let value = options[prefix + name] else { return nil }
      used.insert(prefix + name)
      return ByteText.bytes(value)
    }
    let export = take("export") ?? []
    let kind = take("server.type")
    guard kind == nil || kind == Array("inet".utf8) || kind == Array("unix".utf8) else {
      throw Refusal(reason: "of servers those of the types inet and unix are known")
    }
    let path = take("server.path") ?? take("path")
    let host = take("server.host") ?? take("host")
    if let path {
      guard host == nil, kind != Array("inet".utf8) else { throw Refusal(reason: "it has a path and a host") }
      try self.init(socket: path, export: export)
      return
    }
    guard let host, kind != Array("unix".utf8) else {
      throw Refusal(reason: "it names neither a host nor a path")
    }
    let digits = take("server.port") ?? take("port")
    let port = digits.flatMap { Self.port($0) }
    guard digits == nil || port != nil else { throw Refusal(reason: "a port is a number from 1 to 65535") }
    try self.init(host: host, port: port, export: export)
  }

  /// An export behind a socket in the file system.
  ///
  /// - Throws: ``Refusal`` for a path or a name that cannot be.
  package init(socket: [UInt8], export: [UInt8]) throws(Refusal) {
    guard !socket.isEmpty, socket.count <= Self.longestPath, !socket.contains(0) else {
      throw Refusal(reason: "the path of a socket has 1 to \(Self.longestPath) bytes")
    }
    try Self.check(export: export)
    place = .socket(ByteText.text(socket))
    self.export = export
  }

  /// An export of a server at a port of a host.
  ///
  /// - Throws: ``Refusal`` for a host or a name that cannot be.
  package init(host: [UInt8], port: UInt16?, export: [UInt8]) throws(Refusal) {
    guard !host.isEmpty, host.count <= Self.longestHost, host.allSatisfy(Self.isOfHost) else {
      throw Refusal(
        reason: "the name of a host has letters, digits, '.', '-', '_' and ':', up to \(Self.longestHost)")
    }
    guard port != 0 else { throw Refusal(reason: "there is no port 0") }
    try Self.check(export: export)
    place = .host(String(decoding: host, as: UTF8.self), port: port ?? Self.usualPort)
    self.export = export
  }

  private static func check(export: [UInt8]) throws(Refusal) {
    guard export.count <= longestName, !export.contains(0) else {
      throw Refusal(reason: "the name of an export has at most \(longestName) bytes, none of them 0")
    }
  }

  /// The address as a URI in which every byte that is no plain character is a percent escape: what is shown, asked
  /// and remembered.
  package var uri: String {
    let name = Self.escaped(export, keeping: "/")
    switch place {
    case .socket(let path):
      return "nbd+unix:///\(name)?socket=\(Self.escaped(ByteText.bytes(path), keeping: "/"))"
    case .host(let host, let port):
      let host = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
      return "nbd://\(host)\(port == Self.usualPort ? "" : ":\(port)")/\(name)"
    }
  }

  // MARK: Texts

  private static func parts(of authority: ArraySlice<UInt8>) throws(Refusal) -> (host: [UInt8], port: UInt16?)
  {
    var host = authority
    var port: ArraySlice<UInt8> = []
    if authority.first == UInt8(ascii: "["), let end = authority.firstIndex(of: UInt8(ascii: "]")) {
      host = authority[(authority.startIndex + 1)..<end]
      port = authority[(end + 1)...]
    } else if let colon = authority.lastIndex(of: UInt8(ascii: ":")) {
      host = authority[..<colon]
      port = authority[colon...]
      guard !host.contains(UInt8(ascii: ":")) else {
        throw Refusal(reason: "a number of a host with colons stands in [ ]")
      }
    }
    guard !port.isEmpty else { return (Array(host), nil) }
    guard port.first == UInt8(ascii: ":") else {
      throw Refusal(reason: "behind the host only a port can follow")
    }
    guard let port = self.port(port.dropFirst()) else {
      throw Refusal(reason: "a port is a number from 1 to 65535")
    }
    return (Array(host), port)
  }

  /// The number of a port; nil if it is none.
  package static func port(_ digits: some Collection<UInt8>) -> UInt16? {
    guard (1...5).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }) else {
      return nil
    }
    guard let port = UInt16(String(decoding: digits, as: UTF8.self)), port > 0 else { return nil }
    return port
  }

  private static func isOfHost(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
      UInt8(ascii: ":"):
      true
    default: false
    }
  }

  /// The bytes that a text with percent escapes stands for.
  private static func plain(_ text: ArraySlice<UInt8>) throws(Refusal) -> [UInt8] {
    var bytes: [UInt8] = []
    var at = text.startIndex
    while at < text.endIndex {
      guard text[at] == UInt8(ascii: "%") else {
        bytes.append(text[at])
        at += 1
        continue
      }
      guard at + 2 < text.endIndex, let high = digit(text[at + 1]), let low = digit(text[at + 2]) else {
        throw Refusal(reason: "behind a '%' two hexadecimal digits follow")
      }
      bytes.append(high << 4 | low)
      at += 3
    }
    return bytes
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }

  /// What a server says, for people: other bytes than plain characters become question marks.
  static func plainWords(_ bytes: some Sequence<UInt8>) -> String {
    String(decoding: bytes.map { (0x20...0x7e).contains($0) ? $0 : 0x3f }, as: UTF8.self)
  }

  private static func escaped(_ bytes: [UInt8], keeping others: String) -> String {
    var text = ""
    for byte in bytes {
      if isOfHost(byte) && byte != UInt8(ascii: ":") || byte == UInt8(ascii: "~")
        || others.utf8.contains(byte)
      {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    }
    return text
  }
}
