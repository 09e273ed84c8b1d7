// What an encrypted image says about itself without its key: the fixed fields of its LUKS header.
// Every field is untrusted text or a number that is only shown.

import QcowFormat

/// The fields of a LUKS version 1 header that reports show.
package struct LUKSSummary: Equatable, Sendable {
  package struct Slot: Equatable, Sendable {
    package var isActive: Bool
    package var iterations: UInt32
    /// Bytes from the start of the LUKS header.
    package var keyOffset: UInt64
    package var stripes: UInt32
  }

  package var cipherName: String
  /// Mode and generator of initial vectors, as in "xts-plain64".
  package var cipherMode: String
  package var hash: String
  package var payloadOffset: UInt64
  package var keyBytes: UInt32
  package var masterKeyIterations: UInt32
  package var uuid: String
  package var slots: [Slot]

  /// Bytes of the header with its eight slots.
  package static let size = 592

  /// Nil if the bytes are no LUKS version 1 header.
  package init?(parsing bytes: [UInt8]) {
    guard bytes.count >= Self.size, Array(bytes[0..<6]) == [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe],
      BigEndian.u16(bytes, 6) == 1
    else { return nil }
    cipherName = Self.text(bytes, 8, 32)
    cipherMode = Self.text(bytes, 40, 32)
    hash = Self.text(bytes, 72, 32)
    payloadOffset = UInt64(BigEndian.u32(bytes, 104)) * 512
    keyBytes = BigEndian.u32(bytes, 108)
    masterKeyIterations = BigEndian.u32(bytes, 164)
    uuid = Self.text(bytes, 168, 40)
    slots = (0..<8).map { number in
      let at = 208 + 48 * number
      return Slot(
        isActive: BigEndian.u32(bytes, at) == 0x00ac_71f3, iterations: BigEndian.u32(bytes, at + 4),
        keyOffset: UInt64(BigEndian.u32(bytes, at + 40)) * 512, stripes: BigEndian.u32(bytes, at + 44))
    }
  }

  private static func text(_ bytes: [UInt8], _ at: Int, _ count: Int) -> String {
    String(decoding: bytes[at..<(at + count)].prefix { $0 != 0 }, as: UTF8.self)
  }

  /// The members of a report's "encrypt" object.
  package var report: ReportValue {
    let parts = cipherMode.split(separator: "-", maxSplits: 1).map(String.init)
    let mode = parts.first ?? ""
    let generator = (parts.count > 1 ? parts[1] : "").split(separator: ":", maxSplits: 1).map(String.init)
    // XTS takes two keys of the cipher's width.
    let keyBits = UInt64(keyBytes) * 8 / (mode == "xts" ? 2 : 1)
    var members: [ReportValue.Member] = []
    members.append(.init("ivgen-alg", .string(generator.first ?? "")))
    members.append(.init("hash-alg", .string(hash)))
    members.append(.init("cipher-alg", .string("\(cipherName)-\(keyBits)")))
    members.append(.init("uuid", .string(uuid)))
    if generator.count > 1 { members.append(.init("ivgen-hash-alg", .string(generator[1]))) }
    members.append(.init("format", .string("luks")))
    members.append(.init("cipher-mode", .string(mode)))
    members.append(.init("slots", .array(slots.map(Self.report(of:)))))
    members.append(.init("payload-offset", .number(payloadOffset)))
    members.append(.init("master-key-iters", .number(UInt64(masterKeyIterations))))
    return .object(members)
  }

  private static func report(of slot: Slot) -> ReportValue {
    guard slot.isActive else {
      return .object([.init("active", .bool(false)), .init("key-offset", .number(slot.keyOffset))])
    }
    return .object([
      .init("active", .bool(true)), .init("iters", .number(UInt64(slot.iterations))),
      .init("key-offset", .number(slot.keyOffset)), .init("stripes", .number(UInt64(slot.stripes))),
    ])
  }
}
