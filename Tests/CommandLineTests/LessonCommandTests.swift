// `qatlas lesson` and `qatlas learn` with lessons that are somebody's own, and what is proved of a lesson with the genuine
// tools: a statement that is changed is caught by both sides, and so is a tool that makes another file.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct LessonCommandTests {
  private func qatlas(_ judge: Judge, _ script: String) throws -> ProcessResult {
    try judge.shell(
      "export XDG_STATE_HOME=\"$PWD/state\" XDG_DATA_HOME=\"$PWD/data\"; unset QATLAS_LESSONS; " + script,
      timeout: 120)
  }

  /// A folder with links to the tools that this run compares with.
  private static let links = """
    mkdir tools; for t in qemu-img qemu-io; do ln -s "$(command -v $t)" tools/$t; done

    """

  @Test("a new lesson proves itself on both sides, and is never written over") func new() throws {
    let judge = try Judge()
    let made = try qatlas(
      judge,
      Self.links
        + "mkdir own && $Q lesson --new first --lessons own && $Q lesson --verify --lessons own --tools tools"
    )
    #expect(made.status == 0, "\(made.stdout)\(made.stderr)")
    #expect(
      made.stdout.contains("1 lesson, 8 statements, ") && made.stdout.hasSuffix(", 0 wrong\n"),
      "\(made.stdout)")
    let again = try qatlas(judge, "$Q lesson --new first --lessons own")
    #expect(again.status == 1 && again.stderr.contains("is there already"))
    for name in ["../x", "a/b", "1x", "", "a b", "ä"] {
      let refused = try qatlas(judge, "$Q lesson --new '\(name)' --lessons own")
      #expect(refused.status != 0, "\(name)")
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: judge.path("own")) == ["first.lesson"])
  }

  @Test("own lessons stand below their folder's name and hide none of the program's") func own() throws {
    let judge = try Judge()
    let list = try qatlas(
      judge,
      """
      mkdir -p class data/qatlas/lessons
      $Q lesson --new cow --lessons class >/dev/null; $Q lesson --new later --lessons class >/dev/null
      printf 'later\\ncow\\n' >class/path
      $Q lesson --new mine --lessons data/qatlas/lessons >/dev/null
      sed 's/^minutes 3/minutes 99/' class/later.lesson >class/broken.lesson
      export QATLAS_LESSONS="$PWD/class:/nowhere"
      $Q lesson; $Q lesson cow --text | head -1; $Q lesson class/cow --text | head -1
      $Q lesson mine --text; $Q lesson lessons/mine --text | head -1
      $Q lesson class/broken --text
      """)
    let text = list.stdout
    let rows = text.split(separator: "\n").map(String.init)
    let at = try #require(rows.firstIndex(of: "class"), "\(text)")
    #expect(rows[at + 1].hasPrefix("  class/later   3 min  A title for the list"))
    #expect(rows[at + 2].hasPrefix("  class/cow     3 min"))
    #expect(rows[at + 3].hasPrefix("  class/broken  cannot be read: line "))
    #expect(rows.contains("lessons") && rows.contains { $0.hasPrefix("  lessons/mine  3 min") })
    #expect(rows.contains { $0.hasPrefix("  cow ") } && rows.contains("Copy on write over a backing file"))
    #expect(rows.count { $0 == "A title for the list" } == 2)
    #expect(list.stderr.contains("no lesson is called 'mine'"))
    #expect(list.stderr.contains("line ") && list.status == 1)
  }

  @Test("what cannot be read is told with its line") func lines() throws {
    let judge = try Judge()
    let found = try qatlas(
      judge,
      """
      mkdir c; $Q lesson --new a --lessons c >/dev/null; cd c
      sed 's/^trap /tarp /' a.lesson | sed 's/^lesson a/lesson b/' >b.lesson
      n=$(grep -n '^tarp ' b.lesson | cut -d: -f1)
      $Q lesson --verify .; echo "exit $?, line $n"
      """)
    let line = try #require(found.stdout.matches(of: /exit 1, line ([0-9]+)/).first?.1, "\(found.stdout)")
    #expect(found.stdout.contains("b:\(line): "), "\(found.stdout)")
    #expect(found.stdout.contains("2 lessons, "))
  }

  @Test("a statement that is changed is caught by the engine and by the genuine tools") func changed() throws
  {
    try requireTool("python3")
    let judge = try Judge()
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let found = try qatlas(
      judge,
      Self.links + """
        mkdir c; cp '\(source.path)/Sources/Course/Lessons/cow.lesson' c/
        $Q lesson --verify --lessons c --tools tools; echo "right $?"
        '\(source.path)/Tests/Lessons/verify' --tools tools c; echo "right $?"
        sed -i 's/^  l2\\[2\\] = 8000000000070000/  l2[2] = 8000000000080000/' c/cow.lesson
        echo "line $(grep -n '8000000000080000' c/cow.lesson | cut -d: -f1)"
        $Q lesson --verify --lessons c --tools tools; echo "changed $?"
        '\(source.path)/Tests/Lessons/verify' --tools tools c; echo "changed $?"
        """)
    let text = found.stdout
    #expect(text.matches(of: /right 0/).count == 2, "\(text)\(found.stderr)")
    #expect(text.matches(of: /changed 1/).count == 2, "\(text)\(found.stderr)")
    let line = try #require(text.matches(of: /line ([0-9]+)/).first?.1)
    #expect(
      text.contains("cow:\(line): Across a boundary: l2[2]: stated 8000000000080000, found 8000000000070000"),
      "\(text)")
    // The other reader, which asks the genuine tools alone, says the same.
    #expect(
      text.split(separator: "\n").filter { $0.contains(":\(line)") || $0.contains("line \(line)") }.count
        >= 2,
      "\(text)")
  }

  @Test("a tool that makes another file is noticed") func otherTool() throws {
    let judge = try Judge()
    let found = try qatlas(
      judge,
      """
      mkdir tools; ln -s "$(command -v qemu-io)" tools/qemu-io
      printf '#!/bin/sh\\n%s "$@" || exit\\n[ "$1" = create ] && printf x | dd of=disk bs=1 seek=65535 conv=notrunc 2>/dev/null\\n' \
        "$(command -v qemu-img)" >tools/qemu-img
      chmod +x tools/qemu-img
      $Q lesson --verify cluster --tools tools; echo "exit $?"
      """)
    #expect(
      found.stdout.contains("'disk' and that of the tools differ from 0xffff on")
        && found.stdout.hasSuffix("exit 1\n"), "\(found.stdout)\(found.stderr)")
  }

  @Test("answers in own lessons are judged again from their folder") func graded() throws {
    let judge = try Judge()
    let found = try qatlas(
      judge,
      """
      mkdir class state; $Q lesson --new first --lessons class >/dev/null
      export QATLAS_LESSONS="$PWD/class"
      printf ':lesson class/first\\n.\\n:answer 393216\\n.\\n' >keys
      $Q explore --script keys; echo "script $?"
      $Q learn | tail -2
      """)
    #expect(
      found.stdout.contains("script 0") && found.stdout.contains("  class/first  3 min"),
      "\(found.stdout)\(found.stderr)")
  }
}
