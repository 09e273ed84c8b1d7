// What an encrypted image says about itself without its key: the fields of its LUKS header as a
// report. They are untrusted text and numbers that are only shown.

import QcowFormat

extension LUKSHeader {
  /// The members of a report's "encrypt" object.
  package var report: ReportValue {
    let parts = cipherMode.split(separator: "-", maxSplits: 1).map(String.init)
    let mode = parts.first ?? ""
    let generator = (parts.count > 1 ? parts[1] : "").split(separator: ":", maxSplits: 1).map(String.init)
    // XTS takes two keys of the cipher's width.
    let keyBits = UInt64(keyBytes) * 8 / (mode == "xts" ? 2 : 1)
    var members: [ReportValue.Member] = []
    members.append(.init("ivgen-alg", .string(generator.first ?? "")))
    // The header of an image is never in a file of its own.
    members.append(.init("detached-header", .bool(false)))
    members.append(.init("hash-alg", .string(hash)))
    members.append(.init("cipher-alg", .string("\(cipherName)-\(keyBits)")))
    members.append(.init("uuid", .string(uuid)))
    if generator.count > 1 { members.append(.init("ivgen-hash-alg", .string(generator[1]))) }
    members.append(.init("format", .string("luks")))
    members.append(.init("cipher-mode", .string(mode)))
    members.append(.init("slots", .array(slots.map(Self.report(of:)))))
    members.append(.init("payload-offset", .number(payloadOffset)))
    members.append(.init("master-key-iters", .number(UInt64(digestIterations))))
    return .object(members)
  }

  private static func report(of slot: KeySlot) -> ReportValue {
    guard slot.isActive else {
      return .object([.init("active", .bool(false)), .init("key-offset", .number(slot.keyOffset))])
    }
    return .object([
      .init("active", .bool(true)), .init("iters", .number(UInt64(slot.iterations))),
      .init("key-offset", .number(slot.keyOffset)), .init("stripes", .number(UInt64(slot.stripes))),
    ])
  }
}
