// A session kept as lines: saved, and done again on the image that it began with.

package import Cartography
import Qcow
import QcowFormat
import Storage

extension CommandID {
  static let session = CommandID("session")
  static let storeBitmaps = CommandID("store-bitmaps")
}

/// What `:session` does.
private enum SessionAct: String, CaseIterable {
  case save, replay
  /// Of the lines of a saved session: the image they are for, the time of a snapshot, a part of a defragmentation.
  case from, at, defrag
}

enum SessionLines {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .session, .saving,
      arguments: [
        CommandArgument(
          "WHAT",
          ValueType<String>(candidates: { _ in [SessionAct.save.rawValue, SessionAct.replay.rawValue] }) {
            $0
          }),
        CommandArgument("FILE", .file), CommandArgument("MORE", .text, optional: true),
      ],
      hint: "session",
      help: """
        save FILE keeps the operations of this session as lines of commands; replay FILE does them again on the image \
        that it began with
        """,
      run: { explorer, command throws(CommandError) in try perform(command.arguments, explorer) }),
    CommandSpec(
      .storeBitmaps, .saving, hint: "store bitmaps",
      help: "bring what the persistent bitmaps have recorded into the image, as saving does by itself",
      refusal: { $0.desk.session.refusal },
      run: { explorer, _ throws(CommandError) in
        do throws(ImageError) { try explorer.desk.session.storeBitmaps() } catch {
          throw CommandError(error.description)
        }
        explorer.desk.current.imageChanged(at: nil)
      }),
  ]

  private static func perform(_ words: [String], _ explorer: Explorer) throws(CommandError) {
    let session = explorer.desk.session
    guard let act = SessionAct(rawValue: words[0]) else {
      throw CommandError("\(CommandID.session) has save FILE and replay FILE")
    }
    switch act {
    case .save:
      let text = try session.script()
      do throws(StorageError) { try explorer.desk.files.writeText(text, to: words[1]) } catch {
        throw CommandError(error.description)
      }
      explorer.desk.tell(
        "\(counted(session.generation, "operation")) kept in '\(Escaping.human(words[1]))'; "
          + "--replay does them again")
    case .replay: try explorer.replay(words[1])
    case .from:
      guard words.count == 3, let number = UInt64(words[2], radix: 16) else {
        throw CommandError("a saved session names the image by its length and a number")
      }
      try compare(try Quantity.bytes(words[1]), number, session)
    case .at:
      guard words.count == 3, let seconds = UInt32(words[1]), let nanoseconds = UInt32(words[2]) else {
        throw CommandError("a time is seconds since 1970 and nanoseconds")
      }
      session.nextTime = (seconds, nanoseconds)
    case .defrag:
      let change = try ChangeParser.parse(Defrag.self, Array(words.dropFirst(2))) as? Defrag ?? Defrag()
      let count = try Quantity.index(words[1])
      do throws(ImageError) { try session.defrag(change, operations: count) } catch {
        throw CommandError(error.description)
      }
      explorer.desk.current.imageChanged(at: nil)
    }
  }

  /// - Throws: `CommandError` if the image is not the one that the session began with.
  private static func compare(_ length: UInt64, _ number: UInt64, _ session: Session) throws(CommandError) {
    let now: TableFingerprint
    do throws(ImageError) {
      guard let made = try session.fingerprint(ofBeginning: false) else { throw Session.cancelled }
      now = made
    } catch { throw CommandError(error.description) }
    guard now.length == length else {
      throw CommandError(
        "this is not the image that the session began with: that one had \(length) bytes, this one has \(now.length)"
      )
    }
    guard now.number == number else {
      throw CommandError("this is not the image that the session began with: it has other tables")
    }
  }
}

extension Explorer {
  /// Does the operations of a saved session again.
  ///
  /// - Throws: ``CommandError`` for a file that cannot be read, and with the number of the first line that cannot be
  ///   done; what was done before stays, and can be taken back.
  package func replay(_ path: String) throws(CommandError) {
    let text: String
    do throws(StorageError) {
      let file = try FileOpener().open(path, for: .text)
      guard file.length <= 16 << 20 else {
        throw StorageError(.read, name: path, detail: "longer than 16 MiB")
      }
      text = ByteText.text(try file.bytes(at: 0, count: Int(file.length)))
    } catch { throw CommandError(error.description) }
    guard !isReplaying else { throw CommandError("a saved session replays no other") }
    isReplaying = true
    defer { isReplaying = false }
    let before = session.generation
    do throws(ScriptError) { try ScriptRunner.run(text, on: self) } catch {
      throw CommandError("\(Escaping.human(path)), \(error.description)")
    }
    tell(
      "\(counted(max(0, session.generation - before), "operation")) done again from '\(Escaping.human(path))'"
    )
  }
}
