//! Tests of each rendering of a document.

use super::*;

fn document() -> Document {
    let mut document = Document::new("Arms <of> b|c");
    document.prose("Two *arms*.");
    let mut table = Table::new(["arm", "accuracy"], 1);
    table.push(vec!["head\u{1b}".to_owned(), "0.5".to_owned()]);
    table.push_marked(vec!["a_b".to_owned(), "0.75".to_owned()], true);
    document.table(table);
    document.heading("Curves");
    document.blocks.push(Block::Figure {
        svg: "<?xml version=\"1.0\"?><svg></svg>".to_owned(),
        file: "curves.svg".to_owned(),
        caption: "By epoch".to_owned(),
    });
    document.blocks.push(Block::Gallery(Gallery {
        findings: vec![Finding {
            remark: "exact".to_owned(),
            images: vec![
                Thumbnail { path: "a.png".to_owned(), jpeg: Some("AAAA".to_owned()) },
                Thumbnail { path: "b.png".to_owned(), jpeg: None },
            ],
            more: 1,
        }],
        more: 2,
    }));
    document
}

#[test]
fn the_terminal_gets_aligned_text_without_control_characters() {
    let expected = "\
Two *arms*.

arm    accuracy
head\u{fffd}       0.5
a_b        0.75

Curves

By epoch (curves.svg)

  a.png
    = b.png
    = and 1 more  (exact)
  and 2 more
";
    assert_eq!(document().terminal(), expected);
}

#[test]
fn markdown_escapes_what_it_would_take_for_markup() {
    let expected = "\
# Arms \\<of\\> b\\|c

Two \\*arms\\*.

| arm | accuracy |
| --- | ---: |
| head  | 0.5 |
| **a\\_b** | **0.75** |

## Curves

![By epoch](<curves.svg>)

- a.png, b.png and 1 more: exact
- and 2 more
";
    assert_eq!(document().markdown(), expected);
}

#[test]
fn a_page_holds_everything_and_escapes_text() {
    let page = document().html();
    for part in [
        "<title>Arms &lt;of&gt; b|c</title>",
        "<tr class=\"marked\"><td class=\"text\">a_b</td><td>0.75</td></tr>",
        "<figure>\n<svg></svg>\n<figcaption>By epoch</figcaption></figure>",
        "<img alt=\"\" src=\"data:image/jpeg;base64,AAAA\">",
        "<div class=\"none\">no image</div>",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert!(!page.contains("http"), "the page needs nothing from elsewhere");
}

#[test]
fn json_names_the_kinds_of_blocks() {
    let json = document().json();
    assert_eq!(json["title"], "Arms <of> b|c");
    let kinds: Vec<&str> = json["blocks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|block| block["kind"].as_str().expect("a kind"))
        .collect();
    assert_eq!(kinds, ["prose", "table", "heading", "figure", "gallery"]);
    assert_eq!(json["blocks"][1]["rows"][1]["marked"], true);
}

#[test]
fn a_headline_a_matrix_and_numbers_have_their_form_in_each_rendering() {
    let mut document = Document::new("Report");
    document.blocks.push(Block::Headline { value: "90 %".to_owned(), text: "of <10>".to_owned() });
    document.blocks.push(Block::Matrix(Matrix {
        names: vec!["a<b".to_owned(), "c".to_owned()],
        counts: vec![vec![3, 1], vec![0, 6]],
    }));
    document.data(&("</script>", 0.1f32, f64::NAN));
    assert_eq!(document.terminal(), "90 % of <10>\n\n        1  2\na<b  1  3  1\nc    2  ·  6\n");
    let markdown = document.markdown();
    assert!(markdown.starts_with("# Report\n\n**90 %** of \\<10\\>\n"), "{markdown}");
    assert!(markdown.contains("| a\\<b | 1 | 3 | 1 |\n| c | 2 | · | 6 |\n"), "{markdown}");
    let html = document.html();
    for part in [
        "<p class=\"headline\"><strong>90 %</strong> of &lt;10&gt;</p>",
        "<th class=\"text\">a&lt;b</th><th>1</th><td class=\"right\" style=\"--share:75%\">3</td>\
         <td class=\"wrong\" style=\"--share:25%\">1</td>",
        "<td>·</td><td class=\"right\" style=\"--share:100%\">6</td>",
        "id=\"data\">[\"\\u003c/script>\",0.1,null]</script>",
    ] {
        assert!(html.contains(part), "{part} is not in {html}");
    }
}
