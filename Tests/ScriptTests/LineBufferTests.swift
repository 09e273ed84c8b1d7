// Numbers in lines that are made without strings.

import TestSupport
import Testing

@testable import ToolText

@Suite(.tags(.fast)) struct LineBufferTests {
  private func text(_ make: (inout LineBuffer) -> Void) -> String {
    var lines = LineBuffer()
    make(&lines)
    var bytes: [UInt8] = []
    unsafe lines.flush { unsafe bytes += $0 }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Both sides of every length, and every pair of digits.
  static let numbers: [UInt64] = {
    var numbers: [UInt64] = Array(0...1100) + [.max, .max - 1]
    var power: UInt64 = 10
    while true {
      numbers += [power - 1, power, power + 1, power / 10 * 9 + 7]
      let (next, overflows) = power.multipliedReportingOverflow(by: 10)
      if overflows { return numbers }
      power = next
    }
  }()

  @Test func decimalDigits() {
    for number in Self.numbers { #expect(text { $0.append(number) } == String(number)) }
    #expect(
      text { lines in for number in Self.numbers { lines.append(number) } }
        == Self.numbers.map(String.init).joined())
  }

  @Test func hexadecimalDigits() {
    for number in Self.numbers {
      let wanted = number == 0 ? "0" : "0x" + String(number, radix: 16)
      #expect(text { $0.append(hex: number, width: 16) } == wanted.padding(to: 16))
    }
  }
}

extension String {
  fileprivate func padding(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
