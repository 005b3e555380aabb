//! Texts that are read and written side by side.

use tunesmith_lm::{
    engine::{
        infer::{Cache, Decoder},
        params::random_weights,
    },
    pretrain::ModelShape,
};

/// The hidden rows of each prompt, and of each of three tokens after it, which come one by one.
fn told(decoder: &Decoder, prompts: &[Vec<u32>]) -> Vec<Vec<Vec<f32>>> {
    let mut caches = vec![Cache::default(); prompts.len()];
    let mut all = vec![Vec::new(); prompts.len()];
    let mut feed = |next: &dyn Fn(usize) -> Vec<u32>| {
        let tokens: Vec<Vec<u32>> = (0..prompts.len()).map(next).collect();
        let mut fed: Vec<(&[u32], &mut Cache)> = tokens.iter().map(Vec::as_slice).zip(&mut caches).collect();
        let hidden = decoder.forward(&mut fed).unwrap();
        all.iter_mut().zip(hidden).for_each(|(all, hidden)| all.push(hidden));
    };
    feed(&|i| prompts[i].clone());
    (0..3).for_each(|step| feed(&|i| vec![prompts[i][0] + step]));
    all
}

#[test]
fn a_text_has_the_same_bits_alone_and_among_others_and_on_any_number_of_threads() {
    let shape = ModelShape { vocab: 320, hidden: 48, inner: 136, layers: 2, heads: 6, kv_heads: 2, context: 512 };
    let config = shape.config().unwrap();
    let decoder = Decoder::new(&config, &random_weights(&config, 1));
    let prompt = |n: usize, seed: u32| (0..n as u32).map(|i| (i * 31 + seed) % 300).collect::<Vec<u32>>();
    // One token is a step at once; several are a text, alone or among few or many others.
    let prompts: Vec<Vec<u32>> =
        [1, 2, 37, 70, 1, 300, 2, 129].iter().zip(7..).map(|(n, seed)| prompt(*n, seed)).collect();
    let alone: Vec<Vec<Vec<f32>>> =
        prompts.iter().flat_map(|prompt| told(&decoder, std::slice::from_ref(prompt))).collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for among in [2, 5, 8] {
            let together = pool.install(|| told(&decoder, &prompts[..among]));
            assert!(together == alone[..among], "{among} texts on {threads} threads");
        }
    }
}
